import { cliPath, run } from './mounted.js';

/** Runs the CLI on a terminal of its own (pty(7)), and types there. */

export interface TerminalSession {
  /** Exit status, or the negative number of a signal. */
  readonly status: number;
  readonly seen: string;
  /** Whether the terminal echoes afterwards. */
  readonly echo: boolean | null;
}

/** Types each text when its question was asked, and some before the program begins to run. */
const TYPIST = `
import json, os, pty, select, signal, sys, termios, time

spec = json.loads(sys.argv[1])
pid, fd = pty.fork()
if pid == 0:
    if spec.get("ahead"):
        time.sleep(0.2)
    os.execvp(sys.argv[2], sys.argv[2:])
if spec.get("ahead"):
    os.write(fd, bytes.fromhex(spec["ahead"]))
seen = b""
typed = list(spec["typed"])
end = time.time() + 60
answered = 0
status = None
while time.time() < end:
    ready, _, _ = select.select([fd], [], [], 0.1)
    if ready:
        try:
            part = os.read(fd, 65536)
        except OSError:
            part = b""
        if not part:
            break
        seen += part
    elif status is not None:
        break
    if typed and typed[0][0].encode() in seen[answered:]:
        answered = seen.index(typed[0][0].encode(), answered) + len(typed[0][0].encode())
        time.sleep(0.3)
        os.write(fd, bytes.fromhex(typed.pop(0)[1]))
    if status is None:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status = code
try:
    echo = bool(termios.tcgetattr(fd)[3] & termios.ECHO)
except termios.error:
    echo = None
if status is None:
    if time.time() >= end:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
print(json.dumps({"status": code, "seen": seen.decode("utf8", "replace"), "echo": echo}))
`;

const hex = (text: string | Buffer): string => Buffer.from(text).toString('hex');

export function onTerminal(
  args: readonly string[],
  { typed = [], ahead = '' }: { typed?: [question: string, keys: string | Buffer][]; ahead?: string },
): TerminalSession {
  const spec = { typed: typed.map(([question, keys]) => [question, hex(keys)]), ahead: hex(ahead) };
  const done = run('python3', ['-c', TYPIST, JSON.stringify(spec), process.execPath, cliPath, ...args]);
  return JSON.parse(done.stdout) as TerminalSession;
}
