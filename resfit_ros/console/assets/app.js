// Puts the parts together: connection, view, controls, charts, camera.

import { Camera } from './camera.js';
import { Chart } from './chart.js';
import { Connection } from './connection.js';
import { Controls } from './controls.js';
import { show } from './view.js';

const MOST_POINTS = 1200;
const CHARTS = [
  {
    title: 'Success rate', range: [0, 1], band: ['success_low', 'success_high'],
    series: [{ name: 'success_rate', label: '', colour: '--good' }],
  },
  { title: 'Critic loss', series: [{ name: 'critic_loss', label: '', colour: '--one' }] },
  {
    title: 'Q',
    series: [
      { name: 'q_mean', label: 'mean', colour: '--one' },
      { name: 'return_observed', label: 'return', colour: '--two', dash: [4, 3] },
    ],
  },
  { title: '|residual| / bound', range: [0, 1], series: [{ name: 'residual_ratio', label: '', colour: '--two' }] },
  { title: 'Updates per second', series: [{ name: 'updates_per_s', label: '', colour: '--one' }] },
];

const charts = CHARTS.map((about) => new Chart(document.getElementById('chart-grid'), about));
let names = [], points = [], answered = new Map();

const asPoint = (row) => Object.fromEntries([['t', row[0]], ...names.map((name, i) => [name, row[i + 1]])]);

function addPoint(row) {
  if (!row || !names.length || (points.length && row[0] <= points.at(-1).t)) return;
  points.push(asPoint(row));
  if (points.length > MOST_POINTS) points.shift();
  charts.forEach((chart) => chart.show(points));
}

// What services say to a press, of this page or another, as it comes.
function tellAnswers(all) {
  for (const [name, control] of Object.entries(all)) {
    const key = control.answer ? `${control.answer.ok} ${control.answer.text}` : '';
    if (key && key !== answered.get(name)) {
      controls.say(`${control.label}: ${control.answer.text}`, control.answer.ok ? 'good' : 'bad');
    }
    answered.set(name, key);
  }
}

const connection = new Connection({
  state(state) {
    show(state);
    controls.update(state.view.controls);
    tellAnswers(state.view.controls);
    camera.update(state.view.cameras);
    addPoint(state.point);
    document.getElementById('estop').classList.toggle('asked', state.view.controls.release_estop.enabled);
  },
  history(message) {
    names = message.names;
    points = message.points.map(asPoint);
    charts.forEach((chart) => chart.show(points));
    camera.reconnected();
  },
  frame(number, blob) {
    camera.show(number, blob);
  },
  answer(message) {
    if (message.why) controls.say(`${controls.labelOf(message.control)}: ${message.why}`, 'bad');
  },
  refused(message) {
    controls.say(`refused: ${message.message}`, 'bad');
  },
  estop(words, isBad) {
    controls.say(`E-STOP: ${words}`, isBad ? 'bad' : 'plain');
  },
  alive(alive, title, text) {
    document.body.classList.toggle('lost', !alive);
    document.getElementById('lost-title').textContent = title;
    document.getElementById('lost-text').textContent = text;
    const link = document.getElementById('link');
    link.textContent = alive ? 'connected' : 'not connected';
    link.dataset.colour = alive ? 'green' : 'red';
    if (!alive) document.title = 'NOT CONNECTED - Resfit';
    controls.setAlive(alive);
  },
  behind(seconds) {
    if (!seconds) return;
    const link = document.getElementById('link');
    link.textContent = `slow network: ${seconds.toFixed(1)} s behind`;
    link.dataset.colour = 'amber';
  },
  tokenWanted() {
    document.getElementById('token-dialog').showModal();
  },
});

const controls = new Controls(connection);
const camera = new Camera((message) => connection.send(message));

const dialog = document.getElementById('token-dialog');
dialog.addEventListener('close', () => connection.useToken(document.getElementById('token').value.trim()));
