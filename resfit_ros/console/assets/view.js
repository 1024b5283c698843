// The operator's view, section by section. Everything from the graph goes in as text, never as HTML.

const at = (id) => document.getElementById(id);
const LEVELS = ['ok', 'warning', 'error', 'silent'];
const COLOURS = ['green', 'amber', 'red', 'grey'];
const OUTCOMES = { success: 'success', failure: 'failure', timeout: 'time-out' };

function put(id, text, colour) {
  const element = at(id);
  if (element.textContent !== text) element.textContent = text;
  if (colour !== undefined) element.dataset.colour = colour;
}

function percent(share) {
  return share === null ? '-' : `${Math.round(100 * share)} %`;
}

// Children are used again: nothing flickers, and a screen reader is not told the same twice.
function list(id, items, make, fill) {
  const parent = at(id);
  while (parent.children.length > items.length) parent.lastChild.remove();
  while (parent.children.length < items.length) parent.append(make());
  items.forEach((item, i) => fill(parent.children[i], item));
}

const li = (...tags) => () => {
  const item = document.createElement('li');
  item.append(...tags.map((tag) => document.createElement(tag)));
  return item;
};

function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function clock(seconds) {
  if (seconds === null) return '';
  const minutes = Math.floor(seconds / 60);
  return minutes ? `${minutes}:${(seconds % 60).toFixed(0).padStart(2, '0')} min` : `${seconds.toFixed(1)} s`;
}

function showSafety(safety) {
  put('safety-title', safety.title, safety.colour);
  put('safety-meaning', safety.meaning);
  list('safety-reasons', safety.reasons, li(), text);
  at('safety').classList.toggle('stale', safety.state === 'not heard');
}

function showEpisode(episode) {
  put('episode-id', episode.id ? String(episode.id) : '');
  put('episode-state', episode.state);
  put('episode-time', episode.state === 'running' ? clock(episode.time_s) : clock(episode.state_for_s));
  const progress = at('episode-progress');
  progress.max = episode.max_steps ?? 1;
  progress.value = episode.max_steps ? episode.step : 0;
  const steps = `step ${episode.step}${episode.max_steps ? ` of ${episode.max_steps}` : ''}`;
  const last = episode.last ? `; last: ${OUTCOMES[episode.last.outcome] ?? episode.last.outcome}` : '';
  put('episode-text', (episode.state === 'running' ? steps : episode.sentence) + last);
  at('episode').classList.toggle('stale', !episode.heard);
}

function showSuccess(success) {
  const { rate, low, high, successes, episodes } = success;
  put('success-window', `last ${success.window} episodes`);
  put('success-rate', percent(rate));
  const words = episodes ? `${successes} of ${episodes}, 95 % sure: ${percent(low)} to ${percent(high)}` : 'no episode yet';
  put('success-text', words);
  const bar = at('success-bar');
  bar.setAttribute('aria-label', `Success rate ${percent(rate)}, ${words}`);
  bar.querySelector('.range').hidden = rate === null;
  bar.querySelector('.range').style.left = `${100 * low}%`;
  bar.querySelector('.range').style.width = `${100 * (high - low)}%`;
  bar.querySelector('.mark').style.left = `${100 * (rate ?? 0)}%`;
  bar.querySelector('.mark').hidden = rate === null;
  list('success-dots', success.outcomes, li(), (item, outcome) => {
    item.dataset.outcome = outcome;
    item.title = OUTCOMES[outcome] ?? outcome;
  });
}

function showResidual(residual) {
  const enabled = residual.enabled === null ? '' : residual.enabled ? 'enabled' : 'disabled';
  const share = residual.mean_share === null ? '' : `${percent(residual.mean_share)} of the bound on average`;
  const version = residual.actor_version ? `actor ${residual.actor_version}` : '';
  put('residual-text', [enabled, residual.mode, share, version].filter(Boolean).join(', ') || 'no action yet');
  const makeJoint = () => {
    const item = document.createElement('li');
    item.append(document.createElement('span'), document.createElement('meter'), document.createElement('output'));
    item.children[1].max = 1;
    return item;
  };
  at('residual').classList.toggle('stale', residual.stale);
  list('residual-joints', residual.joints, makeJoint, (item, joint) => {
    text(item.children[0], joint.name);
    item.children[1].value = joint.share;
    item.children[1].style.setProperty('--peak', `${100 * joint.peak_share}%`);
    item.children[1].style.setProperty('--share', `${100 * joint.share}%`);
    item.dataset.full = String(joint.share > 0.95);
    const value = joint.value === null ? '-' : Math.abs(joint.value).toFixed(3);
    text(item.children[2], value);
    item.title = joint.bound === null ? value : `${value} of ${joint.bound.toFixed(3)}; largest lately ${joint.peak.toFixed(3)}`;
    item.children[1].setAttribute('aria-label', `${joint.name}: ${item.title}`);
  });
}

function showLearner(learner) {
  put('learner-phase', learner.phase_words, learner.colour);
  const f = learner.figures, parts = [];
  if (f.env_steps !== undefined) parts.push(`${f.env_steps} steps`, `${f.episodes} episodes`, `${f.gradient_updates} updates`);
  if (learner.lag_words) parts.push(learner.lag_words);
  put('learner-text', parts.join(', '));
  list('learner-warnings', learner.warnings, li(), text);
  const gone = !learner.heard;
  at('learner').classList.toggle('stale', gone);
  at('charts').classList.toggle('stale', gone);
}

function showNodes(nodes) {
  list('node-list', nodes, li('i', 'b', 'span'), (item, node) => {
    item.dataset.colour = COLOURS[node.level];
    item.children[0].title = LEVELS[node.level];
    text(item.children[1], node.name);
    text(item.children[2], `${node.level ? `${LEVELS[node.level]}: ` : ''}${node.message}`);
  });
}

function showMessages(messages, console) {
  list('message-list', messages.slice(0, 8), li('time', 'span'), (item, message) => {
    item.dataset.level = message.level;
    text(item.children[0], message.age_s < 60 ? `${message.age_s.toFixed(0)} s` : `${(message.age_s / 60).toFixed(0)} min`);
    text(item.children[1], message.text);
  });
  const others = console.clients === 1 ? 'this page alone is connected' : `${console.clients} pages are connected`;
  put('console-text', `${others}${console.refused ? `; ${console.refused} messages refused` : ''}`);
}

export function show(state) {
  const view = state.view;
  put('headline', view.headline.text, view.headline.colour);
  showSafety(view.safety);
  showEpisode(view.episode);
  showSuccess(view.success);
  showResidual(view.residual);
  showLearner(view.learner);
  showNodes(view.nodes);
  showMessages(view.messages, state.console);
  document.title = `${view.safety.title} - Resfit`;
}
