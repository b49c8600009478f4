-- Every script begins with this. The entry is one hash, so that what changes it
-- is one step, on a cluster too; the time is the server's, so that the clocks of
-- those who share it do not matter.
--
--   g  generation of the token, 0 before the first     t  the sealed token; none: dropped
--   d  digest of the token                             e  when it ends, in ms since 1970
--   k  ID of the master key that sealed the last token, also when that is dropped
--   h  who holds the lease                             u  until when
--   n  number of the last lease, which becomes the generation of what it brings
--   a  until when those who know the token of a lost entry are asked for it
--   c  digest of the credentials that failed last      p  until when they are not tried again
--   r  how many failures in a row                      f  the sealed failure
local entry, channel, name = KEYS[1], ARGV[1], ARGV[2]
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local longest, memory = 366 * 86400000, 3600000
-- Numbers of leases begin above the time in µs: one that is a day ahead is none.
local newest = (now + 86400000) * 1000

-- whole reports whether the entry can have been written here: hashes with plain
-- numbers within reason, and sealed values that processes read.
local function whole()
  local size = redis.pcall('HSTRLEN', entry, 't')
  if type(size) == 'table' and string.find(size.err, 'WRONGTYPE', 1, true) then return false end
  if redis.call('HSTRLEN', entry, 't') > 262144 or redis.call('HSTRLEN', entry, 'f') > 262144 then return false end
  for _, field in ipairs({'g', 'n', 'e', 'u', 'a', 'p', 'r'}) do
    local value = redis.call('HGET', entry, field)
    if value and not (#value <= 16 and string.match(value, '^%d+$')) then return false end
    if value and (field == 'g' or field == 'n') and tonumber(value) > newest then return false end
  end
  return true
end
-- What is not whole is as if it were lost: who knows the token puts it back.
if not whole() then redis.call('DEL', entry) end

local function number(field) return tonumber(redis.call('HGET', entry, field) or 0) end
local function text(n) return string.format('%.0f', n) end
local function set(field, n) redis.call('HSET', entry, field, text(n)) end
local function among(list, one) return one and string.find(list, one, 1, true) end

-- order grows with each change of the token: 2g, and 2g+1 once it is dropped.
local function order()
  local g = number('g')
  if g == 0 then return 0 end
  return 2 * g + 1 - redis.call('HEXISTS', entry, 't')
end

-- written ends a change: the entry outlives what is in it, so that its numbers do
-- not begin anew, and those who listen are told.
local function written(tell)
  local last = math.max(now, number('e'), number('u'), number('p'))
  redis.call('PEXPIRE', entry, text(math.min(last - now, longest) + memory))
  if tell then redis.call('PUBLISH', channel, name) end
end

local function put(g, sealed, digest, ends, id)
  set('g', g)
  if sealed == '' then
    redis.call('HDEL', entry, 't', 'd', 'e')
  else
    redis.call('HSET', entry, 't', sealed, 'd', digest, 'k', id)
    set('e', math.min(ends, now + longest))
  end
end

-- mine reports whether nobody has had the lease after number n, nor put a token
-- there that is as new: a holder that was away for too long stops here.
local function mine(n) return n <= newest and number('n') <= n and number('g') < n end

local function answer(what)
  return {what, now, order(), redis.call('HGET', entry, 't') or '', number('e'), number('n'), number('u'),
    number('p'), redis.call('HGET', entry, 'f') or '', redis.call('HGET', entry, 'k') or ''}
end
