import { existsSync, unlinkSync } from 'node:fs';
import type { Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { type Log, silent } from '../base/log.js';
import { application } from './application.js';
import { limitConnections } from './connections.js';
import { ParserBuffer, refuseBroken } from './parser-buffer.js';
import type { ControlService } from './service.js';
import { bind, clearPath } from './socket.js';

const HEADERS_MS = 5_000;
const REQUEST_MS = 30_000;

export interface ControlServer {
  close(): Promise<void>;
}

/** Serves the control of a mounted vault on a Unix socket. */
export async function listen(
  path: string,
  service: ControlService,
  log: Log = silent,
): Promise<ControlServer> {
  await clearPath(path);
  const parser = new ParserBuffer(path);
  const server = createAdaptorServer({
    fetch: application(service, parser, log).fetch,
    serverOptions: {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: HEADERS_MS,
      maxHeaderSize: 16_384,
    },
  }) as Server;
  limitConnections(server);
  refuseBroken(server, parser);
  await bind(server, path);
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        parser.close();
        if (existsSync(path)) unlinkSync(path);
      }),
  };
}
