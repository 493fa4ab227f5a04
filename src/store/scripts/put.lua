#!lua
-- Stores a value unless a newer one stands there.
-- KEYS v
-- ARGV 1 the value, 2 ttl ms, 3 the first 74 bytes of a value that does not verify ('' = none)
-- Of a value's first 74 bytes: version, flags, order (40 digits), digest (32 bytes).
local call = redis.call
local old = call('GETRANGE', KEYS[1], 0, 73)
local was, is = string.sub(old, 3, 42), string.sub(ARGV[1], 3, 42)
if old == '' or old ~= ARGV[3] then
  if was > is then return 'older' end
  if was == is and string.sub(old, 43) ~= string.sub(ARGV[1], 43, 74) then return 'conflict' end
  if was == is then
    call('PEXPIRE', KEYS[1], ARGV[2])
    return 'validated'
  end
end
call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 'newer'
