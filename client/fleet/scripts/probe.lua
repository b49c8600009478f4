-- Writes what is there already, to find out whether the server takes it.
set('n', number('n'))
written(false)
return answer('ok')
