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
window.ttAsked = () => {
  const text = ttTweet()?.value || '';
  sessionStorage.setItem('tt-text', text);
  ttAddress({text: text.length < 1000 ? text : ''}, false);
  for (const id of ['answers', 'heat']) document.getElementById(id)?.classList.remove('tt-stale');
  document.getElementById('tweet')?.scrollIntoView({block: 'nearest'});
};
// What is drawn anew each second keeps open what somebody has opened.
const ttOpen = {};
const ttKey = (fold) => {
  const block = fold.closest('.block');
  return block ? block.id + [...block.querySelectorAll('details')].indexOf(fold) : '';
};
document.addEventListener('toggle', (event) => { const key = ttKey(event.target); if (key) ttOpen[key] = event.target.open; }, true);
new MutationObserver((changes) => {
  for (const {target} of changes)
    if (target.querySelectorAll) for (const fold of target.querySelectorAll('.tt details'))
      if (!fold.open && ttOpen[ttKey(fold)]) fold.open = true;
}).observe(document.documentElement, {childList: true, subtree: true});
