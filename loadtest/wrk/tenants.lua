-- Plain GETs of many tenants; each answer must have status 200.
--
--   TENANTS=1000 HEADER=x-tenant-id wrk -t2 -c64 -d10s -s tenants.lua http://127.0.0.1:8080/
--
-- Ends with one line: requests N ok N wrong_status N failed N connect_errors N read_errors N write_errors N timeouts N
-- requests_per_s N p50_us N p99_us N. failed is wrong_status and the four kinds of errors together. The check of each
-- answer costs wrk time: use tenants-fast.lua to measure throughput. Exits 1 unless something was answered and nothing
-- failed.

local tenants = tonumber(os.getenv("TENANTS") or 1000)
local header = os.getenv("HEADER") or "x-tenant-id"

local requests = {}
local asked = 0
local threads = {}

-- Each thread has its own Lua state; done() collects what they counted.
function setup(thread)
   -- Each starts with another tenant, so that they do not walk in step.
   thread:set("first", #threads * 331)
   table.insert(threads, thread)
end

function init()
   for n = 1, tenants do
      wrk.headers[header] = "tenant-" .. n
      requests[n] = wrk.format()
   end
   asked = first
   -- Global, for thread:get() sees nothing else.
   ok, wrong_status = 0, 0
end

function request()
   asked = asked + 1
   return requests[asked % tenants + 1]
end

function response(status)
   if status == 200 then
      ok = ok + 1
   else
      wrong_status = wrong_status + 1
   end
end

local function sum(name)
   local total = 0
   for _, thread in ipairs(threads) do
      total = total + thread:get(name)
   end
   return total
end

function done(summary, latency)
   local errors = summary.errors
   local wrong = sum("wrong_status")
   local failed = wrong + errors.connect + errors.read + errors.write + errors.timeout
   print(string.format(
      "requests %d ok %d wrong_status %d failed %d connect_errors %d read_errors %d write_errors %d timeouts %d"
         .. " requests_per_s %d p50_us %d p99_us %d",
      summary.requests, sum("ok"), wrong, failed, errors.connect, errors.read, errors.write, errors.timeout,
      summary.requests / (summary.duration / 1e6), latency:percentile(50), latency:percentile(99)
   ))
   if sum("ok") == 0 or failed > 0 then
      os.exit(1)
   end
end
