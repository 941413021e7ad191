package route

import "strings"

// upperHex are the digits in which the gateway writes what it escapes.
const upperHex = "0123456789ABCDEF"

// normalForm brings the path of a rule to the form in which the gateway sees
// the paths of requests, which it normalises before it chooses a route (RFC
// 3986, section 6.2.2, as Envoy's normalize_path and merge_slashes do it). With
// an obstacle, no request ever has the path.
//
// Characters that a URL cannot hold as they are (spaces, control characters, letters
// beyond ASCII) are escaped, as clients do.
func normalForm(path string) (normal, obstacle string) {
	if !needsNormalForm(path) {
		return path, ""
	}
	normal, obstacle = eachPiece(path)
	if obstacle != "" {
		return "", obstacle
	}
	if again, _ := eachPiece(normal); again != normal {
		return "", "it has an escape within an escape"
	}
	return collapsed(normal)
}

// eachPiece brings each character and escape of a path to normal form, once.
func eachPiece(path string) (normal, obstacle string) {
	var out strings.Builder
	for rest := path; rest != ""; {
		piece, length, obstacle := normalPiece(rest)
		if obstacle != "" {
			return "", obstacle
		}
		out.WriteString(piece)
		rest = rest[length:]
	}
	return out.String(), ""
}

// normalPiece is the normal form of the first byte or escape of rest, and how
// many bytes of rest that is.
func normalPiece(rest string) (piece string, length int, obstacle string) {
	if len(rest) > 2 && rest[0] == '%' && isHex(rest[1]) && isHex(rest[2]) {
		piece, obstacle = normalEscape(rest[:3])
		return piece, 3, obstacle
	}
	switch c := rest[0]; {
	case c == '?' || c == '#':
		return "", 0, `a path ends before "?" and "#"`
	case c == '\\':
		return "", 0, `the gateway turns "\" into "/"`
	case c == 0:
		return "", 0, "the gateway refuses NUL"
	case isEscapedInPaths(c):
		return string([]byte{'%', upperHex[c>>4], upperHex[c&0xf]}), 1, ""
	default:
		return rest[:1], 1, ""
	}
}

// normalEscape is the normal form of an escape like "%7E".
func normalEscape(escape string) (piece, obstacle string) {
	switch c := unhex(escape[1])<<4 | unhex(escape[2]); {
	case c == 0:
		return "", "the gateway refuses NUL"
	case c == '/' || c == '\\':
		return "", "the gateway does not take an escaped slash for a part of a name"
	case isUnreserved(c):
		return string(c), ""
	default:
		return escape, ""
	}
}

// collapsed finds the segments that the gateway removes from paths.
func collapsed(path string) (normal, obstacle string) {
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if segment == "" && i < len(segments)-1 {
			return "", `the gateway merges "//" into "/"`
		}
		// "..;x" climbs in some backends, therefore in the gateway as well.
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." {
			return "", `the gateway resolves "." and ".." segments`
		}
	}
	return path, ""
}

// needsNormalForm is false for the common path of plain characters.
func needsNormalForm(path string) bool {
	for i := range len(path) {
		c := path[i]
		if isUnreserved(c) && c != '.' {
			continue
		}
		if c == '/' && (i == 0 || path[i-1] != '/') {
			continue
		}
		return true
	}
	return false
}

// isUnreserved says which characters mean the same escaped and not (RFC 3986).
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// isEscapedInPaths says which characters reach the gateway's routes escaped.
func isEscapedInPaths(c byte) bool {
	return c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>^`{|}", c) >= 0
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}
