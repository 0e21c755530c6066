import type { Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { GroupSync } from '../store/group-sync.js';

/** What node's HTTP parser reads at once: the size of the buffer in which it keeps a copy of a body. */
const PARSER_BUFFER = 65_536;
const REPLY_BUFFER = 1_024;
/** The route that answers with 204 and nothing else. */
export const OVERWRITE = '/internal/overwrite';
const REQUEST = Buffer.concat([
  Buffer.alloc(PARSER_BUFFER, '\r\n'),
  Buffer.from(`POST ${OVERWRITE} HTTP/1.1\r\nhost: scopefs\r\n\r\n`),
]);

/**
 * Overwrites the copy of a key body that node's HTTP parser keeps in its buffer (measured: through 20 empty requests), by a
 * request to ourselves. Empty lines before a request line are skipped by the parser (RFC 9112, 2.2) without a copy of their
 * own: zeros in a body cost 128 KiB of buffers each time, and a garbage collection of 20 ms in a hundred unlocks.
 */
export class ParserBuffer {
  readonly #path: string;
  readonly #turns = new GroupSync(() => this.#overwrite());
  #socket: Socket | undefined;
  #answered: (whole: boolean) => void = () => {};

  /** `path`: of the server's own socket. */
  constructor(path: string) {
    this.#path = path;
  }

  /** Resolves when what was read before the call is overwritten. Failing is no reason to fail a caller: the next one tries again. */
  overwrite(): Promise<void> {
    return this.#turns.wait();
  }
  close(): void {
    this.#socket?.destroy();
  }

  async #overwrite(): Promise<void> {
    // The kept connection may have been closed for a newer caller's.
    if (!(await this.#ask())) await this.#ask();
  }
  #ask(): Promise<boolean> {
    this.#socket ??= this.#connect();
    const socket = this.#socket;
    return new Promise((resolve) => {
      this.#answered = resolve;
      // In one piece, so that the parser reads as much at once.
      socket.write(REQUEST);
    });
  }
  #connect(): Socket {
    let reply = '';
    const callback = (length: number, bytes: Uint8Array): boolean => {
      reply += Buffer.from(bytes.buffer, bytes.byteOffset, length).toString('latin1');
      if (!reply.includes('\r\n\r\n')) return true;
      reply = '';
      this.#answered(true);
      return true;
    };
    const socket = connect({ path: this.#path, onread: { buffer: Buffer.alloc(REPLY_BUFFER), callback } });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#socket === socket) this.#socket = undefined;
      this.#answered(false);
    });
    return socket.unref();
  }
}

const STATUS: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};
/** Node answers and closes by itself too, but keeps a copy of what it read, and a key may be in it. */
export function refuseBroken(server: Server, parser: ParserBuffer): void {
  server.on('clientError', (error: Error & { code?: string; rawPacket?: Buffer }, socket) => {
    error.rawPacket?.fill(0);
    void parser.overwrite();
    const { _httpMessage: reply } = socket as { _httpMessage?: { headersSent?: boolean } };
    if (socket.writable && reply?.headersSent !== true) {
      socket.write(`HTTP/1.1 ${STATUS[error.code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\n\r\n`);
    }
    socket.destroy();
  });
}
