import { libcFunction, result } from '../../src/libc/ffi.js';

const ptraceCall = libcFunction('ptrace', 'l', 'llpp');
const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const PTRACE_INTERRUPT = 0x4207;

/** Stops one thread of another process (ptrace(2)) while its other threads go on. Gives the way to let it go. */
export function freezeThread(tid: number): () => void {
  const seized = result(ptraceCall(PTRACE_SEIZE, tid, 0, 0));
  if (seized < 0) throw new Error(`ptrace of ${tid}: ${seized}`);
  ptraceCall(PTRACE_INTERRUPT, tid, 0, 0);
  return () => {
    ptraceCall(PTRACE_DETACH, tid, 0, 0);
  };
}
