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
// Gradio asks at Shift+Enter, by the key press that follows the key's going down.
for (const kind of ['keydown', 'keypress']) document.addEventListener(kind, (event) => {
  if (event.key !== 'Enter' || event.target !== ttTweet() || event.isComposing) return;
  event.stopPropagation();
  if (event.shiftKey) return;
  event.preventDefault();
  document.querySelector('#compare')?.click();
}, true);
document.addEventListener('input', (event) => {
  if (event.target !== ttTweet()) return;
  sessionStorage.setItem('tt-text', event.target.value);
  for (const id of ['answers', 'heat']) document.getElementById(id)?.classList.add('tt-stale');
}, true);
window.ttAsked = (models) => {
  const text = ttTweet()?.value || '';
  sessionStorage.setItem('tt-text', text);
  const chosen = (models || []).join(',');
  const usual = ['base,tuned', 'zero-shot-batch,few-shot-4'].includes(chosen);
  ttAddress({text: text.length < 1000 ? text : '', models: usual ? '' : chosen}, false);
  for (const id of ['answers', 'heat']) document.getElementById(id)?.classList.remove('tt-stale');
  document.getElementById('tweet')?.scrollIntoView({block: 'nearest'});
};
// What is drawn anew each second keeps open what somebody has opened.
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
// The tour: five stops, opened by who wants it; Escape or Skip ends it.
let ttTour = null;
const ttMark = (on) => document.querySelector(ttTour.querySelector('section:not([hidden])').dataset.stop)?.classList.toggle('tt-stop', on);
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
    ttTour = Object.assign(document.createElement('div'), {className: 'tt tt-card tt-tour', tabIndex: -1});
    ttTour.setAttribute('role', 'dialog');
    ttTour.setAttribute('aria-label', event.target.textContent);
    ttTour.append(document.querySelector('#tt-tour').content.cloneNode(true));
    document.querySelector('.gradio-container').append(ttTour);
    ttShowStop(0);
  }
  if (action === 'tour-next') ttShowStop(+ttTour.dataset.at + 1);
  if (action === 'tour-skip') ttEndTour();
});
