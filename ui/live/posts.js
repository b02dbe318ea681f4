// The list holds still while the pointer or the focus is in it. Times are shown in the reader's time zone.
// Run by `gr.HTML` when it loads, which provides `element`, `props`, `watch` and `trigger`.
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
