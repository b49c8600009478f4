-- ARGV: digests of the rejected token; all of them, and failures, for ''
local g, digests = number('g'), ARGV[3]
if digests == '' then redis.call('HDEL', entry, 'c', 'p', 'r', 'f') end
if redis.call('HEXISTS', entry, 't') == 0 then return answer('ok') end
if digests ~= '' and not among(digests, redis.call('HGET', entry, 'd')) then return answer('refused') end
put(g, '')
redis.call('HDEL', entry, 'a')
written(true)
return answer('ok')
