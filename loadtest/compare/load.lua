-- Sends one request again and again, for one tenant after the other. The environment says what: REQUEST is a file with the
-- head, in which @TENANT@ stands for the tenant; BODY_BYTES and TENANTS are numbers.
--
-- Ends with one line: requests N failed N duration_us N p50_us N p99_us N. Answers of status 400 and above have failed.

local tenants = tonumber(os.getenv("TENANTS"))
local body = string.rep("x", tonumber(os.getenv("BODY_BYTES")))
local requests = {}
local asked = 0

function init()
   local file = assert(io.open(os.getenv("REQUEST"), "rb"))
   local head = file:read("*a")
   file:close()
   for n = 1, tenants do
      requests[n] = head:gsub("@TENANT@", "tenant-" .. n) .. body
   end
end

function request()
   asked = asked + 1
   return requests[asked % tenants + 1]
end

function done(summary, latency)
   local errors = summary.errors
   local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
   print(string.format("requests %d failed %d duration_us %d p50_us %d p99_us %d",
      summary.requests, failed, summary.duration, latency:percentile(50), latency:percentile(99)))
end
