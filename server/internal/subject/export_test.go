package subject

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strconv"
	"strings"
)

// Same compares a subject in DER with one in its string form.
func Same(der []byte, text string) (bool, error) {
	name, err := Parse(text)
	return err == nil && name.Matches(der), err
}

// DER returns the DER of a subject in its string form.
func DER(text string) ([]byte, error) {
	name, err := Parse(text)
	if err != nil {
		return nil, err
	}
	var sequence pkix.RDNSequence
	for _, part := range slices.Backward(name) {
		var set pkix.RelativeDistinguishedNameSET
		for _, a := range part {
			var oid asn1.ObjectIdentifier
			for number := range strings.SplitSeq(a.oid, ".") {
				n, err := strconv.Atoi(number)
				if err != nil {
					return nil, err
				}
				oid = append(oid, n)
			}
			set = append(set, pkix.AttributeTypeAndValue{Type: oid, Value: a.value})
		}
		sequence = append(sequence, set)
	}
	return asn1.Marshal(sequence)
}
