#!lua flags=allow-oom
-- Tells that a sidecar lives, which rate it was told, and how far it has read the journal. Answers
-- with the fleet, the rate in force and what has landed since.
-- KEYS b m a c j0 j1, then the leases to renew
-- ARGV 1 id, 2 the rate it was told, 3 membership ms, 4 forget ms, 5 born, 6 tick, 7 cursor,
--   8 lease ms, 9 the count of the fleet that it knew, 10 new|kept: its connection,
--   then the values of the leases
local H, TAU, GAP, SEGMENT, READ = 1e6, 1e5, 5e6, 1048576, 32768
local call = redis.call
local function whole(x) return string.format('%.0f', x) end
local function short(x) return string.format('%.9g', x) end
local t = call('TIME')
local now = t[1] * 1e6 + t[2]
local ms = math.floor(now / 1e3)
local s = call('HMGET', KEYS[1], 'born', 'history', 'tick', 'tat', 'mtat', 'last', 'pos', 'pace', 'expect',
  'since')
local born, history, tick, seen = s[1], s[2], tonumber(s[3] or 0), tonumber(ARGV[6])
local tat, mtat, last = tonumber(s[4] or 0), tonumber(s[5] or 0), tonumber(s[6] or now)
local pos, pace = tonumber(s[7] or 0), tonumber(s[8] or 1)

-- Writes are lost when another server, or another life of this one, goes on with a copy: its
-- history has another name then. The first call over each connection compares the names, so that
-- no call which spends a token can come before. A caller that has seen a higher tick knows too.
local is_lost = false
if not born or ARGV[10] == 'new' then
  local info = redis.pcall('INFO', 'replication')
  local name = type(info) == 'string' and string.match(info, 'master_replid:(%w+)') or ''
  is_lost, history = born and history ~= name, name
end
is_lost = is_lost or (born == ARGV[5] and seen > tick and seen < tick + 1e7)

-- Who is there. Who fell silent keeps its share for a while: it may be rendering by itself.
call('ZADD', KEYS[2], ms, ARGV[1])
call('ZREM', KEYS[3], ARGV[1])
local function silent(from, to)
  for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[2], from, to, 'LIMIT', 0, 64)) do
    call('ZREM', KEYS[2], id)
    call('ZREM', KEYS[4], id)
    call('ZADD', KEYS[3], ms, id)
  end
end
silent('-inf', '(' .. whole(ms - ARGV[3]))
silent('(' .. whole(ms + ARGV[3]), '+inf') -- from before the clock went back
for _, id in ipairs(call('ZRANGEBYSCORE', KEYS[3], '(' .. whole(ms), '+inf', 'LIMIT', 0, 64)) do
  call('ZADD', KEYS[3], ms, id) -- also from before the clock went back
end
call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. whole(ms - ARGV[4]))
local present, absent = call('ZCARD', KEYS[2]), call('ZCARD', KEYS[3])

-- A young state knows few: for three memberships it expects as many as any caller knew before. It
-- grows no older by a clock that jumps ahead, and is young anew where one goes back beyond its birth.
local is_gap = now > last + GAP
local since = tonumber(s[10] or 0) + (is_gap and now - last or 0)
since = (not born or is_lost) and now or math.min(since, now)
local learns = now - since < 3e3 * ARGV[3]
local expect = learns and math.max(tonumber(s[9] or 0), tonumber(ARGV[9])) or 0

-- The rate: the operator's word, else the lowest that any present sidecar was told; less the
-- shares of the silent. The operator's key is not declared: EVAL asks for write access to what is.
call('ZADD', KEYS[4], ARGV[2], ARGV[1])
local low = call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
for _ = 1, 64 do
  if call('ZSCORE', KEYS[2], low[1]) then break end
  call('ZREM', KEYS[4], low[1]) -- left behind by a sidecar that is gone
  low = call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
end
local word = tonumber(call('GET', string.sub(KEYS[1], 1, -2) .. 'o') or '')
local told = word and word >= 0 and word <= 1e9 and word or tonumber(low[2])
local rate = told * present / math.max(present + absent, expect)
local T = 1e6 / math.max(rate * pace, 1e-6)

-- Whenever continuity is in doubt, nothing starts before all that was granted has started.
local empty = math.max(tat, now + H + TAU)
if not born or is_lost then
  born, tat, mtat = whole(now), empty, empty
  if seen > tick and seen < tick + 1e7 then tick = seen end
elseif is_gap then
  tat = empty -- the clock jumped ahead, or there was no call
end
tat = math.min(tat, now + H + TAU + T) -- the clock went back
mtat = math.min(mtat, now + H + TAU + 2 * T)
tick = tick + 1
call('HSET', KEYS[1], 'born', born, 'history', history, 'tick', whole(tick), 'tat', whole(tat),
  'mtat', whole(mtat), 'last', whole(now), 'expect', whole(expect), 'since', whole(since),
  'rate', short(rate))

for i = 7, #KEYS do
  if call('GET', KEYS[i]) == ARGV[i + 4] then call('PEXPIRE', KEYS[i], ARGV[8]) end
end

local cursor, is_cut, news = tonumber(ARGV[7]), 0, ''
local segment = math.floor(cursor / SEGMENT)
if born ~= ARGV[5] or cursor > pos or segment < math.floor(pos / SEGMENT) - 1 then
  cursor, is_cut = pos, 1
elseif cursor < pos then
  local at = cursor - segment * SEGMENT
  news = call('GETRANGE', KEYS[5 + segment % 2], at, math.min(at + READ, SEGMENT) - 1)
  cursor = cursor + #news
  if news == '' then cursor, is_cut = pos, 1 end -- that part of the journal is gone
end
return {ms, born, tick, cursor, pos, is_cut, news, present, absent, learns and 1 or 0, short(told),
  short(rate), short(pace), whole((tat - now) / 1e3), low[1], short(tonumber(low[2]))}
