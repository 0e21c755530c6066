import { Failure } from '../base/failure.js';
import { adviceOf } from './advice.js';
import type { Problem } from './schemas.js';

/** A failure as callers get it: with the advice for it, which is found here and nowhere below. */
function problem(failure: Failure, requestId: string): Problem {
  return {
    type: `urn:scopefs:problem:${failure.code}`,
    title: failure.title,
    status: failure.httpStatus,
    code: failure.code,
    detail: failure.message,
    hint: adviceOf(failure),
    ...(failure.details ?? {}),
    request_id: requestId,
  };
}

/** The reply to what failed. What is no `Failure` tells nothing of itself. */
export function problemReply(error: unknown, requestId: string): { failure: Failure; reply: Response } {
  const failure =
    error instanceof Failure
      ? error
      : new Failure('internal', 'an unexpected error; the daemon log has it', { cause: error });
  const body = problem(failure, requestId);
  const reply = new Response(JSON.stringify(body), {
    status: failure.httpStatus,
    headers: {
      'content-type': 'application/problem+json',
      'x-request-id': body.request_id,
      ...(typeof body.retry_after === 'number' ? { 'retry-after': String(body.retry_after) } : {}),
    },
  });
  return { failure, reply };
}
