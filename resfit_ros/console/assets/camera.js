// Camera frames onto a canvas; the console is told when one is shown, and sends the next one then.

const STALE_MS = 2000;

export class Camera {
  constructor(send) {
    this.send = send;
    this.names = [];
    this.watched = undefined;  // what the console was last told
    this.shownMs = null;
    this.canvas = document.getElementById('camera-picture');
    this.text = document.getElementById('camera-text');
    this.section = document.getElementById('camera');
    this.select = document.getElementById('camera-name');
    this.select.addEventListener('change', () => { this.shownMs = null; this.watch(); });
    document.addEventListener('visibilitychange', () => this.watch());
  }

  // The names of the cameras that the graph has.
  update(names) {
    if (names.join() !== this.names.join()) {
      const chosen = this.select.value;
      this.names = names;
      this.select.replaceChildren(...names.map((name) => new Option(name, name)));
      if (names.includes(chosen)) this.select.value = chosen;
    }
    this.section.hidden = names.length === 0;
    this.watch();
    this.age();
  }

  reconnected() {
    this.watched = undefined;
  }

  watch() {
    // A page that nobody looks at needs no pictures.
    const wanted = document.hidden || !this.names.length ? null : this.select.value;
    if (wanted !== this.watched && this.send({ type: 'watch', camera: wanted })) this.watched = wanted;
  }

  async show(number, blob) {
    try {
      const bitmap = await createImageBitmap(blob);
      if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
        this.canvas.width = bitmap.width;
        this.canvas.height = bitmap.height;
      }
      this.canvas.getContext('2d').drawImage(bitmap, 0, 0);
      bitmap.close();
      this.shownMs = performance.now();
    } catch {
      this.text.textContent = 'a picture could not be read';
    }
    this.send({ type: 'shown', frame: number });
    this.age();
  }

  age() {
    const silent = this.shownMs === null ? Infinity : performance.now() - this.shownMs;
    this.section.classList.toggle('stale', silent > STALE_MS);
    if (silent === Infinity) this.text.textContent = 'no picture yet';
    else this.text.textContent = silent > STALE_MS ? `no new picture for ${(silent / 1000).toFixed(0)} s` : '';
  }
}
