package pemfile

import (
	"bytes"
	"fmt"
	"regexp"
	"unicode/utf8"
)

// encodingFault says why a text cannot be read as characters.
func encodingFault(text []byte) string {
	nul := bytes.IndexByte(text, 0)
	trimmed := bytes.TrimSpace(bytes.TrimPrefix(bytes.TrimSpace(text), []byte(byteOrderMark)))
	switch {
	case len(trimmed) == 0:
		return "it is empty"
	case bytes.HasPrefix(trimmed, []byte("LS0tLS1CRUdJT")):
		return "it is base64 of PEM: it was encoded once too often"
	case bytes.HasPrefix(trimmed, []byte("ENC[")):
		return "it is encrypted by SOPS; decrypt it first"
	case isDER(text):
		return derFault(text)
	case bytes.HasPrefix(text, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(text, []byte("\x00\x00\xfe\xff")):
		return "it is UTF-32; save it as UTF-8"
	case bytes.HasPrefix(text, []byte("\xff\xfe")), bytes.HasPrefix(text, []byte("\xfe\xff")), isWide(text):
		return "it is UTF-16; save it as UTF-8"
	case nul >= 0:
		return fmt.Sprintf("it is no text: byte %d is NUL", nul+1)
	case escaped.Match(text):
		return `it has the two characters \n in place of line breaks; write real line breaks`
	}
	return ""
}

// escaped matches line ends that are still escaped, as in JSON text or in a shell
// variable.
var escaped = regexp.MustCompile(`-----(?:\\r)?\\n|\\n-----`)

// isWide reports whether every second byte at the beginning is NUL.
func isWide(text []byte) bool {
	const enough = 8
	if len(text) < enough {
		return false
	}
	for i := 0; i < enough; i += 2 {
		if (text[i] == 0) == (text[i+1] == 0) || (text[i] == 0) != (text[0] == 0) {
			return false
		}
	}
	return true
}

// isDER reports whether the text is an ASN.1 sequence, as certificates and keys
// are.
func isDER(text []byte) bool {
	return len(text) > 8 && text[0] == 0x30 && !utf8.Valid(text)
}

func derFault(text []byte) string {
	if bytes.HasPrefix(text[4:], []byte{2, 1, 3}) { // the version of PKCS #12 (RFC 7292)
		return "it is PKCS #12 (.pfx, .p12), not PEM; convert it: openssl pkcs12 -in FILE -nodes"
	}
	return "it is binary (DER), not PEM; convert it: openssl x509 -inform DER -in FILE, or openssl pkey for a key"
}
