// A card that is answered by keys. A key counts only while half of the card is on the screen (else it scrolls there),
// nobody is typing or choosing, and the last answer has arrived: a key that is held down or pressed twice must not
// label an unread post. Run by `gr.HTML` when it loads, which provides `element`, `props`, `watch` and `trigger`.
const slot = element.querySelector('.tt-slot');
const elsewhere = 'input, textarea, select, [contenteditable=true], [role=listbox], [role=slider]';
let busy = 0;
const card = () => slot.querySelector('[data-item]');
const paint = () => {
  const inside = slot.contains(document.activeElement);
  slot.innerHTML = props.value || '';
  busy = 0;
  if (inside) (card() || slot.firstElementChild)?.focus();
};
const inView = () => {
  const box = slot.getBoundingClientRect();
  return Math.min(box.bottom, innerHeight) - Math.max(box.top, 0) >= Math.min(box.height, innerHeight) / 2;
};
const act = (button) => {
  if (Date.now() - busy < 2000) return;
  busy = Date.now();
  const {action, value} = button.dataset;
  trigger('select', {action, value, item: card()?.dataset.item || '0'});
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-action]');
  if (button) act(button);
});
const onKey = (event) => {
  if (!element.isConnected) return document.removeEventListener('keydown', onKey);
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (element.offsetParent === null || event.target.closest?.(elsewhere)) return;
  const button = slot.querySelector(`button[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!button) return;
  event.preventDefault();
  if (inView()) act(button);
  else slot.scrollIntoView({block: 'center'});
};
document.addEventListener('keydown', onKey);
watch('value', paint);
paint();
