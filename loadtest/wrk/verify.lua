-- Plain GETs of many tenants; each answer must come from the cell of the tenant that was asked for.
--
--   EXPECT=cells.tsv HEADER=x-tenant-id wrk -t2 -c64 -d10s -s verify.lua http://127.0.0.1:8080/
--
-- EXPECT names a file with one line `tenant<TAB>cell` for each tenant. wrk does not say which request an answer
-- belongs to, so the answer itself must name the tenant (x-tenant) beside the cell (x-cell), as those of demo-cell do.
-- An answer that reaches the wrong client can thus go unnoticed. With ORDERED=1 and one connection for each thread
-- (-c equal to -t) the order tells which request is answered, and that is checked too.
--
-- Ends with one line: verified N wrong N failed N. wrong are answers of status 200 from another cell, or for a tenant
-- that is not in the file or was not asked for; failed are answers of another status, and requests without an answer.
-- The first few wrong ones of each thread are shown on standard error. Exits 1 unless something was verified and
-- nothing was wrong or failed.

local path = os.getenv("EXPECT")
local header = os.getenv("HEADER") or "x-tenant-id"
local ordered = os.getenv("ORDERED") == "1"
local shown_max = 5

local cells = {}
local names = {}
local requests = {}
local asked = 0
local threads = {}

-- Called from init(): an error there ends wrk, one at the top of a script does not.
local function load_cells()
   assert(path, "set EXPECT to a file of lines `tenant<TAB>cell`")
   local number = 0
   for line in io.lines(path) do
      number = number + 1
      local tenant, cell = line:match("^([^\t]+)\t([^\t\r]+)\r?$")
      assert(tenant, path .. ":" .. number .. ": not `tenant<TAB>cell`")
      assert(not cells[tenant], path .. ":" .. number .. ": this tenant has a line already")
      cells[tenant] = cell
      table.insert(names, tenant)
   end
   assert(#names > 0, path .. " is empty")
end

-- Each thread has its own Lua state; done() collects what they counted.
function setup(thread)
   -- Each starts with another tenant, so that they do not walk in step.
   thread:set("first", #threads * 331)
   table.insert(threads, thread)
end

function init()
   load_cells()
   for n, tenant in ipairs(names) do
      wrk.headers[header] = tenant
      requests[n] = wrk.format()
   end
   asked = first
   -- Global, for thread:get() sees nothing else.
   verified, wrong, wrong_status = 0, 0, 0
end

function request()
   asked = asked + 1
   return requests[asked % #names + 1]
end

-- A proxy may change the spelling of a name.
local function field(headers, name)
   if headers[name] then
      return headers[name]
   end
   for key, value in pairs(headers) do
      if key:lower() == name then
         return value
      end
   end
end

local function is_right(tenant, cell)
   if not tenant or not cell or cells[tenant] ~= cell then
      return false
   end
   return not ordered or tenant == names[asked % #names + 1]
end

function response(status, headers)
   if status ~= 200 then
      wrong_status = wrong_status + 1
      return
   end

   local tenant, cell = field(headers, "x-tenant"), field(headers, "x-cell")
   if is_right(tenant, cell) then
      verified = verified + 1
      return
   end
   wrong = wrong + 1
   if wrong <= shown_max then
      io.stderr:write(string.format(
         "wrong: tenant %s answered by %s, expected %s\n", tostring(tenant), tostring(cell), tostring(cells[tenant or ""])
      ))
   end
end

local function sum(name)
   local total = 0
   for _, thread in ipairs(threads) do
      total = total + thread:get(name)
   end
   return total
end

function done(summary)
   local errors = summary.errors
   local failed = sum("wrong_status") + errors.connect + errors.read + errors.write + errors.timeout
   print(string.format("verified %d wrong %d failed %d", sum("verified"), sum("wrong"), failed))
   if sum("verified") == 0 or sum("wrong") + failed > 0 then
      os.exit(1)
   end
end
