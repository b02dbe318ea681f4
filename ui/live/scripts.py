"""The scripts of the Live tab's HTML parts: a list that holds still, and a card that is answered by keys.

Each is the `js_on_load` of a `gr.HTML`, which gives it `element`, `props`, `watch` and `trigger`.
"""

SLOT = '<div class="tt-slot"></div>'

# The list holds still while somebody points at it or has the focus in it. Times become the reader's own.
LIST_JS = """
const slot = element.querySelector('.tt-slot');
let held = false;
const local = (time) => {
  const at = new Date(time.dateTime), old = Date.now() - at > 72e6;
  if (isNaN(at)) return;
  time.title = time.dateTime;
  time.textContent = old ? at.toLocaleString(undefined, {dateStyle: 'short', timeStyle: 'short'})
    : at.toLocaleTimeString();
};
const paint = () => {
  if (held) return;
  const box = slot.querySelector('.tt-feedbox'), top = box ? box.scrollTop : 0;
  slot.innerHTML = props.value || '';
  slot.querySelectorAll('time').forEach(local);
  const now = slot.querySelector('.tt-feedbox');
  if (now) now.scrollTop = top;
};
const hold = (on) => { held = on; element.classList.toggle('held', on); paint(); };
element.addEventListener('mouseenter', () => hold(true));
element.addEventListener('mouseleave', () => hold(element.contains(document.activeElement)));
element.addEventListener('focusin', () => hold(true));
element.addEventListener('focusout', () => setTimeout(() => hold(
  element.matches(':hover') || element.contains(document.activeElement))));
watch('value', paint);
paint();
"""

# Keys count only while the card is on the screen, nothing is being typed or chosen, and the last answer has
# been taken: a key that is held down or pressed twice must not label a post that nobody has read.
DUEL_JS = """
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
  act(button);
};
document.addEventListener('keydown', onKey);
watch('value', paint);
paint();
"""

# Gradio saves a file when its button is pressed, so the button is pressed once the file has been made.
SAVE_JS = "() => {{ setTimeout(() => document.querySelector('#{0}, #{0} button, #{0} a').click(), 300); }}"
