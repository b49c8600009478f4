-- Every script begins with this. The entry is one hash, so that what changes it
-- is one step, on a cluster too; the time is the server's, so that the clocks of
-- those who share it do not matter.
--
--   g  generation of the token, 0 before the first     t  the sealed token; none: dropped
--   d  digest of the token                             e  when it ends, in ms since 1970
--   h  who holds the lease                             u  until when
--   n  number of the last lease, which becomes the generation of what it brings
--   c  digest of the credentials that failed last      p  until when they are not tried again
--   r  how many failures in a row                      f  the sealed failure
local entry, channel, name = KEYS[1], ARGV[1], ARGV[2]
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local longest, memory = 366 * 86400000, 3600000

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

local function put(g, sealed, digest, ends)
  set('g', g)
  if sealed == '' then
    redis.call('HDEL', entry, 't', 'd', 'e')
  else
    redis.call('HSET', entry, 't', sealed, 'd', digest)
    set('e', math.min(ends, now + longest))
  end
end

-- mine reports whether nobody has had the lease after number n, nor put a token
-- there that is as new: a holder that was away for too long stops here.
local function mine(n) return number('n') <= n and number('g') < n end

local function answer(what)
  return {what, now, order(), redis.call('HGET', entry, 't') or '', number('e'), number('n'), number('u'),
    number('p'), redis.call('HGET', entry, 'f') or ''}
end
