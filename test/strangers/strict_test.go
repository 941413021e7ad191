package strangers_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// received is a request as it came to a backend.
type received struct {
	Backend        string
	Method, Target string
	Fields         []field
	Body           []byte
}

// field is a line of a header, with its name as it was sent.
type field struct{ Name, Value string }

// values are those of all fields of that name, which is lower case.
func (r *received) values(name string) []string {
	var values []string
	for _, f := range r.Fields {
		if strings.ToLower(f.Name) == name {
			values = append(values, f.Value)
		}
	}
	return values
}

// The grammar of RFC 9110 and 9112, without all that a recipient may forgive.
var (
	requestLine = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z` + "`" + `-]+) ([!-~]+) HTTP/1\.1$`)
	fieldLine   = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z` + "`" + `-]+):[ \t]*([\t -~\x80-\xff]*?)[ \t]*$`)
	digits      = regexp.MustCompile(`^[0-9]{1,18}$`)
	chunkSize   = regexp.MustCompile(`^[0-9A-Fa-f]{1,15}$`)
)

// readStrictly reads one request of which nobody could think otherwise. io.EOF
// is an end between two requests.
func readStrictly(from *bufio.Reader) (*received, error) {
	first, err := readLine(from)
	if err != nil {
		return nil, err
	}
	parts := requestLine.FindStringSubmatch(first)
	if parts == nil {
		return nil, fmt.Errorf("request line %q", first)
	}
	r := &received{Method: parts[1], Target: parts[2]}
	if r.Fields, err = readFields(from); err != nil {
		return nil, inside(err)
	}
	if n := len(r.values("host")); n != 1 {
		return nil, fmt.Errorf("%d Host headers", n)
	}
	r.Body, err = readBody(from, r)
	return r, inside(err)
}

// readBody takes the length from one header, of which there must not be two.
func readBody(from *bufio.Reader, r *received) ([]byte, error) {
	lengths, codings := r.values("content-length"), r.values("transfer-encoding")
	switch {
	case len(lengths)+len(codings) == 0:
		return nil, nil
	case len(lengths)+len(codings) > 1:
		return nil, fmt.Errorf("the length is said %d times", len(lengths)+len(codings))
	case len(codings) == 1 && codings[0] != "chunked":
		return nil, fmt.Errorf("transfer coding %q", codings[0])
	case len(codings) == 1:
		return readChunks(from)
	case !digits.MatchString(lengths[0]):
		return nil, fmt.Errorf("content length %q", lengths[0])
	}
	length, err := strconv.Atoi(lengths[0])
	if err != nil {
		return nil, err
	}
	body := make([]byte, min(length, maxRecorded))
	if _, err := io.ReadFull(from, body); err != nil {
		return nil, err
	}
	_, err = io.CopyN(io.Discard, from, int64(length-len(body)))
	return body, err
}

func readChunks(from *bufio.Reader) ([]byte, error) {
	var body []byte
	for {
		line, err := readLine(from)
		if err != nil {
			return nil, err
		}
		if !chunkSize.MatchString(line) {
			return nil, fmt.Errorf("chunk size %q", line)
		}
		size, err := strconv.ParseInt(line, 16, 64)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return body, endOfChunks(from)
		}
		chunk := make([]byte, size)
		if _, err := io.ReadFull(from, chunk); err != nil {
			return nil, err
		}
		body = append(body, chunk[:min(len(chunk), maxRecorded-len(body))]...)
		if end, err := readLine(from); err != nil || end != "" {
			return nil, fmt.Errorf("after a chunk: %q %w", end, err)
		}
	}
}

// endOfChunks wants no trailers: the gateway forwards none.
func endOfChunks(from *bufio.Reader) error {
	trailers, err := readFields(from)
	if err == nil && len(trailers) > 0 {
		err = fmt.Errorf("trailers %q", trailers)
	}
	return err
}

func readFields(from *bufio.Reader) ([]field, error) {
	var fields []field
	for {
		line, err := readLine(from)
		if err != nil || line == "" {
			return fields, err
		}
		parts := fieldLine.FindStringSubmatch(line)
		if parts == nil {
			return nil, fmt.Errorf("field line %q", line)
		}
		fields = append(fields, field{parts[1], parts[2]})
	}
}

// readLine ends with CRLF and holds neither of them otherwise.
func readLine(from *bufio.Reader) (string, error) {
	text, err := from.ReadString('\n')
	if err != nil {
		if text != "" {
			err = fmt.Errorf("in the middle of line %q: %w", text, io.ErrUnexpectedEOF)
		}
		return "", err
	}
	line, ok := strings.CutSuffix(text, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\n\x00") {
		return "", fmt.Errorf("line %q", text)
	}
	return line, nil
}

// inside is an error for which the end of the connection is no excuse.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
