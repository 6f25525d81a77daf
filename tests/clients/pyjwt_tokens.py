"""Makes tokens with PyJWT: a JSON list of jobs on stdin, a JSON list of tokens on stdout."""

import json
import sys

import jwt

json.dump(
    [jwt.encode(job["claims"], job["key"], algorithm=job["alg"], headers=job.get("headers"))
     for job in json.load(sys.stdin)],
    sys.stdout,
)
