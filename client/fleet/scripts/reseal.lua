-- ARGV: the sealed token that this replaces ('' when there is none), the same
-- sealed anew, its digest, ID of the master key
if (redis.call('HGET', entry, 't') or '') ~= ARGV[3] then return answer('refused') end
if ARGV[3] ~= '' then redis.call('HSET', entry, 't', ARGV[4], 'd', ARGV[5]) end
redis.call('HSET', entry, 'k', ARGV[6])
written(false)
return answer('ok')
