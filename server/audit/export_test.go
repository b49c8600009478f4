package audit

// TilePath is the path of a tile in an export.
var TilePath = tilePath

// ParseRestore reads what RestoreDetail wrote.
var ParseRestore = parseRestore
