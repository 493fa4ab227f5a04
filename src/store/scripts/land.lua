#!lua flags=allow-oom
-- Tells that a render ended, well or not. Its value stands already, put there by `put`, so that a
-- head never points at nothing.
-- KEYS b r l j0 j1
-- ARGV 1 born, 2 id, 3 the value of the lease ('' = none), 4 order and digest (40 digits and 32
--   bytes; '' = nothing landed), 5 ttl ms, 6 the journal's entry (8 bytes), 7 good|bad|pushed|none,
--   8 pushback ms, 9 for how many ms to leave the project alone (0 = not at all), 10 count:why of
--   that, 11 a head that no value bears out ('' = none)
local SEGMENT = 1048576
local call = redis.call
local function whole(x) return string.format('%.0f', x) end
local function short(x) return string.format('%.9g', x) end
local t = call('TIME')
local now = t[1] * 1e6 + t[2]
local ms = math.floor(now / 1e3)
local s = call('HMGET', KEYS[1], 'born', 'tick', 'pos', 'w0', 'wok', 'wbad', 'pace', 'hold', 'ramp', 'pid', 'pat', 'slowed')
if s[1] ~= ARGV[1] then return {'beat'} end
local tick, pos, verdict, old = tonumber(s[2]) + 1, tonumber(s[3] or 0), 'none', call('GET', KEYS[2]) or ''
if ARGV[4] ~= '' then
  local was, is = string.sub(old, 14, 53), string.sub(ARGV[4], 1, 40)
  if is > was or (old ~= '' and old == ARGV[11]) then verdict = 'newer'
  elseif is < was then verdict = 'older'
  elseif string.sub(old, 54) == string.sub(ARGV[4], 41) then verdict = 'validated'
  else verdict = 'conflict' end
  if verdict == 'newer' or verdict == 'validated' then
    call('SET', KEYS[2], string.format('%013.0f', ms) .. ARGV[4], 'PX', ARGV[5])
    local at = pos % SEGMENT
    local journal = KEYS[4 + math.floor(pos / SEGMENT) % 2]
    if at == 0 then call('DEL', journal) end
    if call('APPEND', journal, ARGV[6]) ~= at + 8 then -- this segment was evicted: go on in the next
      pos = (math.floor(pos / SEGMENT) + 1) * SEGMENT
      journal = KEYS[4 + math.floor(pos / SEGMENT) % 2]
      call('DEL', journal)
      call('APPEND', journal, ARGV[6])
    end
    pos = pos + 8
  end
end
if ARGV[3] ~= '' and call('GET', KEYS[3]) == ARGV[3] then
  local alone = math.min(tonumber(ARGV[9]), 3e5)
  if alone == 0 then
    call('DEL', KEYS[3])
  else
    local marker = 'C' .. string.sub(ARGV[3], 2, 41) .. string.format('%013.0f', ms + alone) .. ARGV[10]
    call('SET', KEYS[3], marker, 'PX', whole(2 * alone))
  end
end

-- How long ago it was; long ago what the clock, which went back, has not reached.
local function since(moment) return now >= moment and now - moment or 1e15 end
-- The pace of the fleet: slower after 5 s in which three renders and a tenth of all went bad, back
-- within a minute after.
local w0, wok, wbad, pace = tonumber(s[4] or now), tonumber(s[5] or 0), tonumber(s[6] or 0), tonumber(s[7] or 1)
if ARGV[7] == 'good' then wok = wok + 1 elseif ARGV[7] ~= 'none' then wbad = wbad + 1 end
if since(w0) >= 5e6 then
  if wbad >= 3 and wbad * 10 > wok + wbad then pace = math.max(0.02, pace * 0.85)
  else pace = math.min(1, pace + math.max(1, math.floor((now - w0) / 5e6)) / 12) end
  w0, wok, wbad = now, 0, 0
end
-- The renderer's word to all, when two sidecars bring it within 5 s.
local hold, ramp = tonumber(s[8] or 0), tonumber(s[9] or 0)
local pid, pat, slowed = s[10] or '', tonumber(s[11] or 0), tonumber(s[12] or 0)
if hold > now + 120e6 then hold = 0 end -- from before the clock went back
if ARGV[7] == 'pushed' and tonumber(ARGV[8]) > 0 then
  if pid ~= '' and pid ~= ARGV[2] and since(pat) < 5e6 then
    local after = math.min(ARGV[8] * 1e3, 120e6)
    if now + after > hold then hold, ramp = now + after, math.min(4 * after, 60e6) end
    if since(slowed) >= 5e6 then pace, slowed = math.max(0.02, pace * 0.7), now end
  end
  pid, pat = ARGV[2], now
end
call('HSET', KEYS[1], 'tick', whole(tick), 'pos', whole(pos), 'w0', whole(w0), 'wok', whole(wok),
  'wbad', whole(wbad), 'pace', short(pace), 'hold', whole(hold), 'ramp', whole(ramp), 'pid', pid,
  'pat', whole(pat), 'slowed', whole(slowed))
return {verdict, (verdict == 'older' or verdict == 'conflict') and old or '', tick, pos}
