// Follows an event stream with eventsource. The only argument is a JSON object: `url`, `token`.
// Prints a JSON object per line: {"type": …, "id": …, "data": …} for each event, and {"type": "open" | "error"}.
import { EventSource } from 'eventsource';

const { url, token } = JSON.parse(process.argv[2]);
const source = new EventSource(url, {
  fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
const print = (value) => console.log(JSON.stringify(value));

source.addEventListener('open', () => print({ type: 'open' }));
source.addEventListener('error', () => print({ type: 'error' }));
for (const type of ['Cursor', 'TaskChanged', 'WorkspaceChanged']) {
  source.addEventListener(type, (event) => print({ type, id: event.lastEventId, data: JSON.parse(event.data) }));
}

// The timer with which eventsource waits before it reconnects does not keep the process running.
setInterval(() => {}, 60_000);
