-- Plain GETs of many tenants, unchecked: for throughput. tenants.lua and verify.lua check the answers.
--
--   TENANTS=1000 HEADER=x-tenant-id wrk -t2 -c64 -d10s --latency -s tenants-fast.lua http://127.0.0.1:8080/
--
-- Ends with one line: requests N failed N connect_errors N read_errors N write_errors N timeouts N status_errors N
-- requests_per_s N p50_us N p99_us N. status_errors are answers of status 400 and above.

local tenants = tonumber(os.getenv("TENANTS") or 1000)
local header = os.getenv("HEADER") or "x-tenant-id"

local requests = {}
local asked = 0
local threads = 0

-- Each thread starts with another tenant, so that they do not walk in step.
function setup(thread)
   thread:set("first", threads * 331)
   threads = threads + 1
end

function init()
   for n = 1, tenants do
      wrk.headers[header] = "tenant-" .. n
      requests[n] = wrk.format()
   end
   asked = first
end

function request()
   asked = asked + 1
   return requests[asked % tenants + 1]
end

function done(summary, latency)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
   print(string.format(
      "requests %d failed %d connect_errors %d read_errors %d write_errors %d timeouts %d status_errors %d"
         .. " requests_per_s %d p50_us %d p99_us %d",
      summary.requests, failed, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
      summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99)
   ))
end
