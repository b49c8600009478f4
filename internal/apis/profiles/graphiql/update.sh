#!/bin/sh
# Makes assets/ anew from the packages that package-lock.json pins by hash: the
# browser builds that graphiql and react publish, compressed, with the licences
# of all that they contain. To take newer versions, change package.json, run
# `npm install --package-lock-only --ignore-scripts` here, then this script.
set -eu
cd "$(dirname "$0")"
npm ci --ignore-scripts --no-audit --no-fund

# pack SOURCE NAME: without the reference to a source map that is not served,
# and without a time stamp, so that the same input gives the same bytes.
pack() {
	sed '/^\/\/# sourceMappingURL=/d; s|/\*# sourceMappingURL=[^*]*\*/||' "node_modules/$1" | gzip -9n >"assets/$2.gz"
}
pack graphiql/graphiql.min.js graphiql.js
pack graphiql/graphiql.min.css graphiql.css
pack react/umd/react.production.min.js react.js
pack react-dom/umd/react-dom.production.min.js react-dom.js

node - <<'EOF' | gzip -9n >assets/LICENSES.txt.gz
const fs = require('fs'), path = require('path');
const allowed = new Set(['MIT', '0BSD', 'BSD-2-Clause', 'Python-2.0']);
const lock = JSON.parse(fs.readFileSync('package-lock.json', 'utf8')).packages;
for (const dir of Object.keys(lock).filter(Boolean).sort()) {
  const { version, license } = lock[dir];
  if (!allowed.has(license)) throw new Error(`${dir}: the licence ${license} has to be looked at`);
  if (!fs.existsSync(dir)) continue; // for another platform
  console.log(`${dir.replace(/^.*node_modules\//, '')} ${version} (${license})\n`);
  const file = fs.readdirSync(dir).sort().find((name) => /^(licen[cs]e|copying)/i.test(name));
  if (file) console.log(fs.readFileSync(path.join(dir, file), 'utf8').trim() + '\n');
  console.log('-'.repeat(70) + '\n');
}
EOF
rm -r node_modules
