#!lua flags=allow-oom
-- Takes, for some of the candidates, the lease and a token that says when their render may start:
-- both or neither. Candidates stand in the order of want.
-- KEYS b, then r and l of each candidate
-- ARGV 1 id, 2 born, 3 tick, 4 missing|outdated, 5 the most grants, 6 horizon ms, 7 lease ms,
--   then of each candidate: the least order that does (40 digits), the greatest age in ms (0 = any),
--   an order whose value is lost ('' = none)
local H, TAU, GAP = 1e6, 1e5, 5e6
local call = redis.call
local function whole(x) return string.format('%.0f', x) end
local t = call('TIME')
local now = t[1] * 1e6 + t[2]
local ms = math.floor(now / 1e3)
local s = call('HMGET', KEYS[1], 'born', 'tick', 'tat', 'mtat', 'last', 'rate', 'pace', 'hold', 'ramp',
  'since')
-- Flushed, or a copy that lacks what this caller has seen: beat first.
if s[1] ~= ARGV[2] or tonumber(ARGV[3]) > tonumber(s[2]) then return {'beat'} end
-- No sidecar renders again what another is about to publish: by then each has beaten, and published
-- what it knows.
local last = tonumber(s[5])
local is_gap = now > last + GAP
local age = math.max(0, (is_gap and last or now) - tonumber(s[10] or 0)) -- as in `beat`
if age < H + TAU then
  return {'wait', ms, tonumber(s[2]), math.ceil((H + TAU - age) / 1e3)}
end
local tick, tat, mtat = tonumber(s[2]), tonumber(s[3]), tonumber(s[4])
local rate, hold, ramp = tonumber(s[6]) * tonumber(s[7] or 1), tonumber(s[8] or 0), tonumber(s[9] or 0)
if now < hold and hold <= now + 120e6 then return {'wait', ms, tick, math.ceil((hold - now) / 1e3)} end
if now >= hold and now < hold + ramp then rate = rate * (0.1 + 0.9 * (now - hold) / ramp) end
if rate < 1e-6 then return {'wait', ms, tick, 60000} end

local T, horizon, is_missing = 1e6 / rate, math.min(ARGV[6] * 1e3, H), ARGV[4] == 'missing'
if is_gap then tat = math.max(tat, now + H + TAU) end -- as in `beat`
tat, mtat = math.min(tat, now + H + TAU + T), math.min(mtat, now + H + TAU + 2 * T)
-- In how long the next token starts, and how much farther ahead that is than it may be. Every tenth
-- token is not for missing projects.
local function room()
  local start = math.max(0, tat - TAU - now)
  if not is_missing then return start, start - horizon end
  return math.max(start, mtat - TAU - now), math.max(start - horizon, mtat - TAU - now - horizon / 2)
end
local start, excess = room()
if excess > 0 then return {'wait', ms, tick, math.ceil(excess / 1e3)} end

local reply, granted = {'ok', ms, tick, 0}, 0
for i = 1, (#KEYS - 1) / 2 do
  local lease = KEYS[2 * i + 1]
  local floor, oldest, lost = ARGV[5 + 3 * i], tonumber(ARGV[6 + 3 * i]), ARGV[7 + 3 * i]
  local head = call('GET', KEYS[2 * i]) or ''
  local order = string.sub(head, 14, 53)
  local is_young = oldest == 0 or (tonumber(string.sub(head, 1, 13)) or 0) >= ms - oldest
  if order >= floor and order ~= lost and is_young then
    reply[#reply + 1] = 'L' .. head
  else
    -- 'L' order id~tick: leased. 'C' order until count:why: left alone for a while. Neither stands
    -- in the way of a higher order.
    local l = call('GET', lease) or ''
    local kind, is_free, count = string.sub(l, 1, 1), string.sub(l, 2, 41) < floor, '0'
    local rest = l ~= '' and call('PTTL', lease) or 0
    local is_ours = string.find(l, ARGV[1] .. '~', 42, true) == 42 -- the reply was lost
    -- A lease that ends so late is from before the clock went back, and so is such a marker.
    if kind == 'L' and (is_ours or rest > 2 * ARGV[7]) then is_free = true end
    local till = kind == 'C' and tonumber(string.sub(l, 42, 54))
    if till and (ms >= till or till > ms + 3e5) then is_free, count = true, string.match(l, '^%d+', 55) end
    if not is_free then
      reply[#reply + 1] = (kind == 'C' and 'C' or 'E' .. whole(rest) .. ':') .. string.sub(l, 42)
    else
      start, excess = room()
      if granted == tonumber(ARGV[5]) or excess > 0 then
        reply[4] = math.max(0, math.ceil(excess / 1e3))
        break
      end
      -- A missing project that starts later than the next token is due has it move along.
      tick, granted, tat = tick + 1, granted + 1, math.max(tat, now + start) + T
      if is_missing then mtat = math.max(mtat, now) + T / 0.9 end
      local value = 'L' .. floor .. ARGV[1] .. '~' .. whole(tick)
      call('SET', lease, value, 'PX', ARGV[7])
      reply[#reply + 1] = 'G' .. whole(math.ceil(start / 1e3)) .. ':' .. (count or '0') .. ':' .. value
    end
  end
end
if granted > 0 then
  reply[3] = tick
  call('HSET', KEYS[1], 'tick', whole(tick), 'tat', whole(tat), 'mtat', whole(mtat), 'last', whole(now))
end
return reply
