'use strict';
// A relay on a fresh directory, and what the tests of Nostr clients share.

const { mkdtempSync, rmSync, writeFileSync } = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { finalizeEvent, generateSecretKey } = require('nostr-tools/pure');
const { Weir } = require('./weir.js');

/** Contents whose canonical form (NIP-01) is easily wrong: escapes, control characters, the limits of UTF-16. */
const CONTENTS = {
  'the escapes of NIP-01': 'line\nquote"back\\slash\rreturn\ttab\bbackspace\fform feed',
  'other control characters': '\u0000\u0001\u0007\u000b\u000e\u001f',
  'DEL and C1': '\u007f\u0080\u009f',
  'separators of JavaScript': '\u2028\u2029',
  'surrogate pairs': '👋🏽 𝔘 \u{10000}',
  'the last code point': '\u{10ffff}\u{10fffe}\ufffe\uffff\ufdd0',
  'a slash and HTML': '/ </script> & \\/ \\u0041',
  'combining characters': 'e\u0301 é ﷺ \u200d \ufeff',
};

/** Settings of a relay that events and requests of a whole test may come from one connection. */
const WITHOUT_RATES = { events_rate: 'off', events_rate_per_address: 'off', requests_rate: 'off' };

/** Starts `weir relay` with these settings; `relay.end()` stops it and removes its directory. */
async function startRelay(settings = {}) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'weir-relay-'));
  const table = { name: 'test', data_dir: path.join(directory, 'events'), ...settings };
  const lines = Object.entries(table).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
  const config = path.join(directory, 'weir.toml');
  writeFileSync(config, ['[[relay]]', ...lines, ''].join('\n'));
  const relay = await Weir.listening(process.env.WEIR,
    ['relay', '--listen', '127.0.0.1:0', '--config', config, '--log', 'warn']);
  relay.end = async () => {
    const end = await relay.stop();
    rmSync(directory, { recursive: true });
    return end;
  };
  return relay;
}

/** An event of a key, now unless `created_at` is given. */
function sign(key, { kind = 1, content = '', tags = [], created_at = Math.floor(Date.now() / 1000) }) {
  return finalizeEvent({ kind, content, tags, created_at }, key);
}

/** The signer that nostr-tools calls for an AUTH challenge. */
const signer = (key) => async (template) => finalizeEvent(template, key);

module.exports = { CONTENTS, WITHOUT_RATES, generateSecretKey, sign, signer, startRelay };
