// Plain GETs of many tenants; each answer must be 200, for the tenant that asked, and from that tenant's cell.
//
//   k6 run --no-usage-report -e BASE=http://127.0.0.1:8080 -e TENANTS=1000 tenants.js
//   k6 run --no-usage-report -e BASE=http://127.0.0.1:8080 -e EXPECT=cells.tsv --vus 64 --duration 30s tenants.js
//
// EXPECT names a file with one line `tenant<TAB>cell` for each tenant; a relative path starts at this script's
// directory. Without it the tenants are tenant-1 to tenant-TENANTS, and cells are not checked. HEADER is the header that
// carries the tenant (x-tenant-id). k6 exits with an error if a single check or request fails, or if this script does.

import { check } from 'k6';
import { SharedArray } from 'k6/data';
import exec from 'k6/execution';
import http from 'k6/http';

const base = __ENV.BASE || 'http://127.0.0.1:8080';
const header = __ENV.HEADER || 'x-tenant-id';

// One copy for all virtual users.
const tenants = new SharedArray('tenants', () => {
  if (__ENV.EXPECT) {
    return expectations(open(__ENV.EXPECT));
  }
  const count = Number(__ENV.TENANTS || 1000);
  return Array.from({ length: count }, (_, n) => ({ name: `tenant-${n + 1}`, cell: null }));
});

export const options = {
  vus: 16,
  duration: '10s',
  discardResponseBodies: true,
  thresholds: {
    checks: ['rate==1.0'],
    http_req_failed: ['rate==0'],
  },
};

// An exception only ends its iteration, and k6 exits with 0 if no check was made. So it has to end the test.
export default function () {
  try {
    ask();
  } catch (error) {
    exec.test.abort(`the script failed: ${error}`);
  }
}

function ask() {
  const tenant = tenants[exec.scenario.iterationInTest % tenants.length];
  const answer = http.get(`${base}/`, { headers: { [header]: tenant.name } });

  const checks = {
    'status is 200': (answer) => answer.status === 200,
    'the answer is for the tenant that asked': (answer) => field(answer, 'x-tenant') === tenant.name,
  };
  if (tenant.cell !== null) {
    checks["the answer is from the tenant's cell"] = (answer) => field(answer, 'x-cell') === tenant.cell;
  }
  check(answer, checks);
}

function expectations(text) {
  const lines = text.split(/\r?\n/).filter((line) => line !== '');
  if (lines.length === 0) {
    throw new Error(`${__ENV.EXPECT} is empty`);
  }
  return lines.map((line) => {
    const [name, cell, ...rest] = line.split('\t');
    if (!name || !cell || rest.length > 0) {
      throw new Error(`${__ENV.EXPECT}: not tenant<TAB>cell: ${line}`);
    }
    return { name, cell };
  });
}

// k6 writes header names in its own way (X-Cell).
function field(answer, name) {
  const key = Object.keys(answer.headers).find((key) => key.toLowerCase() === name);
  return key === undefined ? undefined : answer.headers[key];
}
