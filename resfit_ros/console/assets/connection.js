// The websocket to the console: token, reconnecting, and an e-stop that does not depend on it.

const SILENT_MS = 1500;  // states come every 200 ms
const GIVE_UP_MS = 4000;
const RETRY_MS = [300, 600, 1200, 2500];
const ESTOP_RETRY_MS = 500;
const ESTOP_TRIES = 120;
const BEHIND_S = 1.0;
const WRONG_TOKEN = 4401;
const KEY = 'resfit-console-token';

function tokenOfAddress() {
  // A fragment is sent to no server and stands in no log; it goes from the address bar, too.
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given !== null) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY) ?? '';
}

export class Connection {
  // on: {state, history, refused, frame(number, blob), alive(alive, title, text), behind(seconds),
  //      estop(words, isBad), tokenWanted()}
  constructor(on) {
    this.on = on;
    this.token = tokenOfAddress();
    this.socket = null;
    this.alive = false;
    this.heardMs = null;
    this.tries = 0;
    this.number = 0;
    this.seenS = null;  // when the newest state was made, by the console's clock
    this.offset = Infinity;  // of our clock and the console's, where nothing was held up
    this.estop = null;
    this.stopped = false;  // until there is another token
    setInterval(() => this.check(), 200);
    document.addEventListener('visibilitychange', () => this.check());
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.stopped = false;
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}/ws`);
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => socket.send(JSON.stringify({ type: 'hello', token: this.token }));
    socket.onmessage = (event) => socket === this.socket && this.hear(event.data);
    socket.onclose = (event) => socket === this.socket && this.closed(event);
    this.socket = socket;
    this.offset = Infinity;
    this.openedMs = performance.now();
  }

  hear(data) {
    this.heardMs = performance.now();
    this.tries = 0;
    if (data instanceof ArrayBuffer) {
      this.on.frame(new DataView(data).getUint32(0), new Blob([new Uint8Array(data, 4)], { type: 'image/jpeg' }));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'state') {
      this.setAlive(true);
      this.seenS = message.now_s;
      this.measureDelay(message.now_s);
    }
    if (message.type === 'answer' && this.estop?.id === message.id) this.estopTaken();
    this.on[message.type]?.(message);
  }

  measureDelay(nowS) {
    const offset = performance.now() / 1000 - nowS;
    // The console was started anew, or its computer slept: begin again.
    if (offset < this.offset || offset - this.offset > 60) this.offset = offset;
    this.on.behind(offset - this.offset > BEHIND_S ? offset - this.offset : 0);
  }

  closed(event) {
    this.socket = null;
    if (event.code === WRONG_TOKEN) {
      this.stopped = true;
      this.setAlive(false, 'Wrong token', 'The console does not know this page.');
      this.on.tokenWanted();
      return;
    }
    const wait = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
    this.setAlive(false);
    this.timer = setTimeout(() => this.open(), wait);
  }

  useToken(token) {
    this.token = token;
    sessionStorage.setItem(KEY, token);
    this.open();
  }

  check() {
    const now = performance.now();
    const silent = this.heardMs === null ? Infinity : now - this.heardMs;
    if (silent > SILENT_MS && !this.stopped) this.setAlive(false);
    if (this.socket && silent > GIVE_UP_MS && now - this.openedMs > GIVE_UP_MS) {
      this.socket.onclose = null;  // closing may take as long as the network is gone
      this.socket.close();
      this.closed({ code: 0 });
    }
  }

  setAlive(alive, title = '', text = '') {
    this.alive = alive;
    const seconds = this.heardMs === null ? null : (performance.now() - this.heardMs) / 1000;
    const age = seconds === null ? 'Nothing was heard yet.' : `What you see is ${seconds.toFixed(0)} s old.`;
    this.on.alive(
      alive,
      title || (this.heardMs === null ? 'Not connected' : 'CONNECTION LOST'),
      text || `${age} Buttons do not reach the robot; use the hardware e-stop. Trying again.`,
    );
  }

  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  // The number of the press, or null where it cannot be sent: it is not kept for later. What a stalled network
  // keeps, the console refuses by the age of the state that was shown, but for stops.
  press(control) {
    const id = ++this.number;
    return this.alive && this.send({ type: 'press', id, control, seen: this.seenS }) ? id : null;
  }

  // Over the websocket at once; where that does not answer, by requests of their own, again and again.
  pressEstop() {
    const id = ++this.number;
    clearTimeout(this.estop?.timer);
    const asked = this.send({ type: 'press', id, control: 'estop', seen: this.seenS });
    this.estop = { id, tries: 0, timer: null };
    this.on.estop('asked for, not confirmed yet', false);
    this.estop.timer = setTimeout(() => this.postEstop(this.estop), asked && this.alive ? ESTOP_RETRY_MS : 0);
  }

  async postEstop(press) {
    if (press !== this.estop || press.tries++ >= ESTOP_TRIES) return;
    press.timer = setTimeout(() => this.postEstop(press), ESTOP_RETRY_MS);
    try {
      const headers = { Authorization: `Bearer ${this.token}` };
      const response = await fetch('/estop', { method: 'POST', headers, signal: AbortSignal.timeout(4000) });
      const answer = await response.json();
      if (press !== this.estop) return;
      if (answer.ok) this.estopTaken();
      else this.on.estop(answer.message, true);
    } catch {
      if (press === this.estop) this.on.estop('NOT SENT: no connection; use the hardware e-stop', true);
    }
  }

  // The console has it, and asks the safety filter until that shows it: the next states tell.
  estopTaken() {
    clearTimeout(this.estop.timer);
    this.estop = null;
  }
}
