document.documentElement.lang = /^pt/i.test(navigator.language) ? 'pt-BR' : 'en';
const ttTab = (name) => document.querySelector(`#tab-${name}-button`);
const ttAddress = (changes, push) => {
  const url = new URL(location);
  for (const [name, value] of Object.entries(changes)) value ? url.searchParams.set(name, value) : url.searchParams.delete(name);
  if (url.href !== location.href) history[push ? 'pushState' : 'replaceState'](null, '', url);
};
const ttTweet = () => document.querySelector('#tweet textarea');
document.addEventListener('click', (event) => {
  const tab = event.target.closest('#tabs [role=tab]');
  if (tab && event.isTrusted) {
    window.ttTabPressed = true;
    const name = /^tab-(\w+)-button$/.exec(tab.id)?.[1];
    if (name && !window.ttGoingBack) ttAddress({tab: name, run: ''}, true);
  }
  const step = event.target.closest('[data-action=tab]');
  if (step) { ttTab(step.dataset.value)?.click(); ttAddress({tab: step.dataset.value}, true); }
}, true);
window.addEventListener('popstate', () => {
  const name = new URL(location).searchParams.get('tab');
  ttTab(name || 'compare')?.click();
});
// Gradio submits on Shift+Enter, at the keypress that follows the keydown; here plain Enter submits.
for (const kind of ['keydown', 'keypress']) document.addEventListener(kind, (event) => {
  if (event.key !== 'Enter' || event.target !== ttTweet() || event.isComposing) return;
  event.stopPropagation();
  if (event.shiftKey) return;
  event.preventDefault();
  document.querySelector('#compare')?.click();
}, true);
document.addEventListener('input', (event) => {
  const steps = event.target.dataset?.steps;
  if (steps) event.target.nextElementSibling.value = JSON.parse(steps)[event.target.value];
  if (event.target !== ttTweet()) return;
  window.ttTyped = true;
  sessionStorage.setItem('tt-text', event.target.value);
  for (const id of ['answers', 'heat']) document.getElementById(id)?.classList.add('tt-stale');
}, true);
// Chromium's number fields follow its own language, not the page's, and swallow another's comma: 0,5 would be 05.
let ttTyping = false;
document.addEventListener('beforeinput', (event) => {
  if (event.target.type !== 'number' || event.data !== ',' || ttTyping) return;
  event.preventDefault();
  ttTyping = true;
  let taken = false;
  event.target.addEventListener('input', () => { taken = true; }, {once: true});
  document.execCommand('insertText', false, ',');
  if (!taken) document.execCommand('insertText', false, '.');
  ttTyping = false;
}, true);
// Gradio's buttons that remove a model are named by place, “Remove 0”: name the model instead.
for (const kind of ['focusin', 'pointerover']) document.addEventListener(kind, (event) => {
  const remove = event.target.closest?.('.token-remove:not(.remove-all)');
  if (remove) remove.title = `${remove.title.split(' ')[0]} ${remove.parentElement.textContent.trim()}`;
});
window.ttAsked = (models) => {
  const text = ttTweet()?.value || '';
  sessionStorage.setItem('tt-text', text);
  const chosen = (models || []).join(',');
  const usual = ['base,tuned', 'zero-shot-batch,few-shot-4'].includes(chosen);
  ttAddress({text: text.length < 1000 ? text : '', models: usual ? '' : chosen}, false);
  for (const id of ['answers', 'heat']) document.getElementById(id)?.classList.remove('tt-stale');
  document.getElementById('tweet')?.scrollIntoView({block: 'nearest'});
};
// Folds that a visitor has opened stay open when their part is drawn again, each second.
const ttOpen = {};
const ttKey = (fold) => {
  const block = fold.closest('.block');
  return block ? block.id + [...block.querySelectorAll('details')].indexOf(fold) : '';
};
document.addEventListener('click', (event) => {
  const fold = event.target.closest('summary')?.parentElement, key = fold ? ttKey(fold) : '';
  if (key) ttOpen[key] = !fold.open;
}, true);
new MutationObserver((changes) => {
  for (const {target} of changes)
    if (target.querySelectorAll) for (const fold of [target, ...target.querySelectorAll('.tt details')])
      if (fold.tagName === 'DETAILS' && !fold.open && ttOpen[ttKey(fold)]) fold.open = true;
}).observe(document.documentElement, {childList: true, subtree: true, attributes: true, attributeFilter: ['open']});
// An error is shown at the field that it names, else beside the pressed control, until something else is pressed:
// Gradio's own toast would cover the page and vanish. Without such a place the toast stays.
let ttPressed = null;
for (const kind of ['click', 'change']) document.addEventListener(kind, (event) => {
  const at = event.target.closest?.(kind === 'click' ? 'button, summary' : 'input');
  if (!at || at.closest('.toast-wrap')) return;
  ttPressed = at;
  document.querySelector('.tt-problem')?.remove();
}, true);
const ttFieldOf = (sentence, near) => {
  const named = [...sentence.matchAll(/“([^”]+)”/g)].map((found) => found[1]);
  const labels = [...(near.closest('[role=tabpanel]')?.querySelectorAll('[data-testid=block-info], label > span') || [])]
    .filter((label) => named.includes(label.textContent.trim()));
  return labels.find((label) => label.offsetParent) || labels[0];
};
const ttUnfold = (label) => {
  const pressed = ttPressed, folds = [];
  for (let it = label.parentElement; it; it = it.parentElement) folds.push(...it.querySelectorAll(':scope > .label-wrap:not(.open)'));
  for (const fold of folds) fold.click();
  ttPressed = pressed;
  return folds.length > 0;
};
const ttShowProblem = (message, unfolded) => {
  const toast = message.closest('.toast-body'), sentence = message.textContent.trim();
  const lost = document.querySelector('#tt-tour')?.dataset.lost;
  if (lost && sentence.startsWith('Connection to the server was lost')) { message.textContent = lost; return; }
  if (!sentence || !ttPressed?.isConnected || !ttPressed.offsetParent) return;
  const field = ttFieldOf(sentence, ttPressed);
  if (field && !field.offsetParent && !unfolded && ttUnfold(field)) { setTimeout(() => ttShowProblem(message, true), 100); return; }
  const at = field?.offsetParent ? field : ttPressed;
  const place = at.closest('.row:not(.tt-columns)') || at.closest('.block') || at;
  const note = Object.assign(document.createElement('div'), {className: 'tt tt-problem', role: 'alert'});
  note.append(Object.assign(document.createElement('p'), {className: 'tt-note bad', textContent: sentence}));
  document.querySelector('.tt-problem')?.remove();
  place.insertAdjacentElement(at.closest('.html-container') ? 'beforebegin' : 'afterend', note);
  note.scrollIntoView({block: 'nearest'});
  toast.style.display = 'none';
  toast.querySelector('[data-testid=toast-close]')?.click();
};
new MutationObserver((changes) => {
  for (const {addedNodes} of changes) for (const node of addedNodes)
    for (const found of node.querySelectorAll?.('.toast-message-text.error') || []) setTimeout(() => ttShowProblem(found));
}).observe(document.documentElement, {childList: true, subtree: true});
// The tour: five stops, offered at the first visit only; Escape or Skip ends it.
let ttTour = null;
const ttMark = (on) => {
  const stop = ttTour.querySelector('section:not([hidden])')?.dataset.stop;
  if (stop) document.querySelector(stop)?.classList.toggle('tt-stop', on);
};
const ttCard = (template, name) => {
  ttTour = Object.assign(document.createElement('div'), {className: 'tt tt-card tt-tour', tabIndex: -1});
  ttTour.setAttribute('role', 'dialog');
  ttTour.setAttribute('aria-label', name);
  ttTour.append(template.content.cloneNode(true));
  document.querySelector('.gradio-container').append(ttTour);
};
const ttOffer = () => {
  const hello = document.querySelector('#tt-hello');
  if (localStorage.getItem('tt-toured') || ttTour) return;
  hello ? ttCard(hello, hello.content.querySelector('h2').textContent) : setTimeout(ttOffer, 300);
};
ttOffer();
const ttEndTour = () => { if (!ttTour) return; ttMark(false); ttTour.remove(); ttTour = null; localStorage.setItem('tt-toured', '1'); document.documentElement.classList.add('tt-toured'); };
const ttShowStop = (at) => {
  const stops = [...ttTour.querySelectorAll('section')];
  if (at >= stops.length) return ttEndTour();
  ttMark(false);
  stops.forEach((stop, place) => { stop.hidden = place !== at; });
  if (at === stops.length - 1) ttTour.querySelector('[data-action=tour-next]').textContent = document.querySelector('#tt-tour').dataset.done;
  ttTour.dataset.at = at;
  ttMark(true);
  document.querySelector(stops[at].dataset.stop)?.scrollIntoView({block: 'center'});
  ttTour.focus();
};
if (localStorage.getItem('tt-toured')) document.documentElement.classList.add('tt-toured');
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') ttEndTour(); });
document.addEventListener('click', (event) => {
  const action = event.target.closest('[data-action^=tour]')?.dataset.action;
  if (action === 'tour') {
    ttEndTour();
    ttTab('compare')?.click();
    ttCard(document.querySelector('#tt-tour'), event.target.textContent);
    ttShowStop(0);
  }
  if (action === 'tour-next') ttShowStop(+ttTour.dataset.at + 1);
  if (action === 'tour-skip') ttEndTour();
});
