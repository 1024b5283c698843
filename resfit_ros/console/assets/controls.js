// The buttons: which of two a place shows, long presses, keys.

// Controls that share a place: the first one that can be pressed is shown.
const PLACES = [
  ['success'], ['failure'], ['discard'], ['reset'],
  ['arm', 'disarm'], ['hold', 'resume'], ['enable_residual', 'disable_residual'], ['release_estop'],
];
// Held for so long before they count [ms]: what makes the robot move, or ends an episode unlabelled.
const LONG = { arm: 1000, reset: 1000, release_estop: 2000, resume: 600 };
const SETTLE_MS = 700;  // a place that has just changed its meaning takes no press
const CONFIRM_MS = 4000;
const ANSWER_MS = 8000;

export class Controls {
  // connection: press and pressEstop
  constructor(connection) {
    this.connection = connection;
    this.view = {};
    this.alive = false;
    this.holding = null;
    this.answer = document.getElementById('answer');
    this.estop = document.getElementById('estop');
    this.estop.addEventListener('pointerdown', (event) => event.button === 0 && this.pressEstop());
    // A click without a pointer comes from a screen reader or a key.
    this.estop.addEventListener('click', (event) => event.detail === 0 && this.pressEstop());
    this.places = PLACES.map((names) => this.makePlace(names));
    document.addEventListener('keydown', (event) => this.keyDown(event), true);
    document.addEventListener('keyup', (event) => this.keyUp(event), true);
    window.addEventListener('blur', () => this.letGo());
  }

  makePlace(names) {
    const button = document.createElement('button');
    button.type = 'button';
    button.id = names[0];
    const fill = button.appendChild(document.createElement('i'));
    const label = button.appendChild(document.createElement('b'));
    const hint = button.appendChild(document.createElement('small'));
    const key = button.appendChild(document.createElement('kbd'));
    const place = { names, name: names[0], button, fill, label, hint, key, changedMs: -Infinity, confirmMs: -Infinity };
    button.addEventListener('pointerdown', (event) => event.button === 0 && this.begin(place));
    for (const type of ['pointerup', 'pointerleave', 'pointercancel']) {
      button.addEventListener(type, () => this.holding?.place === place && this.letGo());
    }
    button.addEventListener('contextmenu', (event) => event.preventDefault());
    button.addEventListener('click', (event) => event.detail === 0 && this.clickWithoutPointer(place));
    document.getElementById('buttons').append(button);
    return place;
  }

  update(controls) {
    this.controls = controls;
    for (const place of this.places) {
      const name = this.chosen(place, controls);
      if (name !== place.name) {
        place.name = name;
        place.changedMs = performance.now();
        if (this.holding?.place === place) this.letGo();
      }
    }
    this.render();
  }

  chosen(place, controls) {
    // Under an e-stop the way back counts: "Arm", and what has to be done first.
    if (place.names[0] === 'arm' && controls.release_estop.enabled) return 'arm';
    return place.names.find((n) => controls[n].enabled) ?? place.names[0];
  }

  setAlive(alive) {
    if (this.alive && !alive) this.answer.textContent = '';
    this.alive = alive;
    if (!alive) this.letGo();
    this.render();
  }

  labelOf(name) {
    return this.controls?.[name]?.label ?? name;
  }

  whyNot(name) {
    if (!this.alive) return 'not connected';
    const control = this.controls?.[name];
    return control ? (control.enabled ? '' : control.why) : 'nothing is known yet';
  }

  render() {
    if (!this.controls) return;
    for (const place of this.places) {
      const control = this.controls[place.name], why = this.whyNot(place.name);
      const long = LONG[place.name] ? `hold ${LONG[place.name] / 1000} s` : '';
      place.label.textContent = control.label;
      place.hint.textContent = why || long;
      place.key.textContent = control.key;
      place.key.hidden = !control.key;
      place.button.title = `${control.label}: ${control.tip}${why ? ` (${why})` : ''}`;
      place.button.dataset.tone = ['release_estop', 'arm', 'resume'].includes(place.name) ? 'strong' : control.tone;
      place.button.setAttribute('aria-disabled', String(Boolean(why)));
      if (control.key) place.button.setAttribute('aria-keyshortcuts', control.key);
      if (place.names[0] === 'release_estop') place.button.hidden = Boolean(why);
    }
  }

  // -- pressing ------------------------------------------------------------------------------

  begin(place, name = place.name, isKey = false) {
    this.letGo();
    const why = this.whyNot(name);
    // A key that means one thing alone cannot be mistaken.
    const ambiguous = name === place.name && !(isKey && place.names.filter((n) => this.controls?.[n].key).length === 1);
    if (ambiguous && performance.now() - place.changedMs < SETTLE_MS) {
      this.say(`${place.label.textContent}: this button has just changed; press again if you mean it`, 'bad');
      return;
    }
    if (why) {
      this.say(`${this.labelOf(name)}: ${why}`, 'bad');
      return;
    }
    const wait = LONG[name];
    if (!wait) {
      this.press(name);
      return;
    }
    place.fill.style.transitionDuration = `${wait}ms`;
    place.button.classList.add('holding');
    this.holding = { place, name, timer: setTimeout(() => { this.letGo(); this.press(name); }, wait) };
  }

  letGo() {
    if (!this.holding) return;
    clearTimeout(this.holding.timer);
    this.holding.place.button.classList.remove('holding');
    this.holding.place.fill.style.transitionDuration = '0ms';
    this.holding = null;
  }

  clickWithoutPointer(place) {
    if (this.keyed) return;  // Enter is handled as a key
    const now = performance.now();
    if (!LONG[place.name] || now - place.confirmMs < CONFIRM_MS) {
      const why = this.whyNot(place.name);
      why ? this.say(`${this.controls[place.name].label}: ${why}`, 'bad') : this.press(place.name);
      return;
    }
    place.confirmMs = now;
    this.say(`${this.controls[place.name].label}: press once more`, 'plain');
  }

  press(name) {
    navigator.vibrate?.(30);
    const label = this.controls[name].label;
    if (this.connection.press(name) === null) this.say(`${label}: NOT SENT, no connection`, 'bad');
    else this.say(`${label}: sent`, 'plain');
  }

  pressEstop() {
    this.letGo();
    navigator.vibrate?.([80, 40, 80]);
    this.connection.pressEstop();
  }

  say(text, tone) {
    this.answer.textContent = text;
    this.answer.dataset.tone = tone;
    clearTimeout(this.sayTimer);
    this.sayTimer = setTimeout(() => { this.answer.textContent = ''; }, ANSWER_MS);
  }

  // -- keys ----------------------------------------------------------------------------------

  keyDown(event) {
    if (event.target.matches('input, textarea') || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.code === 'Space') {
      event.preventDefault();
      if (!event.repeat) this.pressEstop();
      return;
    }
    const [place, name] = this.meantBy(event);
    if (!place || event.target.matches('select')) return;
    event.preventDefault();
    this.keyed = true;
    if (!event.repeat) this.begin(place, name, event.key !== 'Enter');
  }

  // [place, control] of a key. What shares a place has a key of its own, or none: "A" arms and never disarms.
  meantBy(event) {
    if (event.key === 'Enter') {
      const place = this.places.find((p) => p.button === document.activeElement && !p.button.hidden);
      return [place, place?.name];
    }
    const key = event.key.toUpperCase();
    const withKey = (place) => place.names.filter((n) => this.controls?.[n].key === key);
    const place = this.places.find((p) => withKey(p).length);
    const names = place ? withKey(place) : [];
    return [place, names.find((n) => this.controls[n].enabled) ?? names[0]];
  }

  keyUp(event) {
    if (event.code === 'Space') event.preventDefault();  // it would click the button in focus
    else if (event.code !== 'Tab') this.letGo();
    this.keyed = false;
  }
}
