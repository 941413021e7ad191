package pemfile

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"
)

// one and two are blocks of several lines each.
var (
	one = block("CERTIFICATE", "one")
	two = block("CERTIFICATE", "two")
	key = block("PRIVATE KEY", "hunter2")
)

func block(kind, word string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(strings.Repeat(word, 30))}))
}

func wide(text string, order binary.ByteOrder) string {
	var out bytes.Buffer
	for _, unit := range utf16.Encode([]rune(text)) {
		_ = binary.Write(&out, order, unit)
	}
	return out.String()
}

// Text with only one possible meaning is read.
func TestReads(t *testing.T) {
	begins := regexp.MustCompile(`(?m)^`)
	for _, test := range []struct {
		name, text string
		lines      []int // where the blocks begin; the default is as in one+two
	}{
		{name: "two blocks", text: one + two},
		{name: "without a line break at the end", text: strings.TrimSpace(one + two)},
		{name: "words between them", text: "Bag Attributes\n    friendlyName: shop\n" + one + "subject=CN = two\n" + two, lines: []int{3, 8}},
		{name: "comments", text: "# of ours\n" + one + "# -----BEGIN CERTIFICATE-----\n# " + strings.Repeat("A", 64) + "\n" + two, lines: []int{2, 8}},
		{name: "a fingerprint", text: strings.Repeat("0a1B", 16) + "\n" + one + two, lines: []int{2, 6}},
		{name: "a byte order mark", text: "\ufeff" + one + two},
		{name: "a byte order mark in each of two files", text: "\ufeff" + one + "\ufeff" + two},
		{name: "no line break between two", text: strings.TrimSpace(one) + two, lines: []int{1, 4}},
		{name: "line ends of Windows", text: strings.ReplaceAll(one+two, "\n", "\r\n")},
		{name: "line ends of old Macs", text: strings.ReplaceAll(one+two, "\n", "\r")},
		{name: "indented", text: begins.ReplaceAllString(one+two, "    ")},
		{name: "all in one line", text: strings.ReplaceAll(one+two, "\n", " "), lines: []int{1, 1}},
		{name: "spaces at the ends of lines", text: strings.ReplaceAll(one+two, "\n", " \t\n")},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.lines == nil {
				test.lines = []int{1, 5}
			}
			blocks, fault := Read([]byte(test.text))
			if fault != "" {
				t.Fatal(fault)
			}
			if got := string(Encode(blocks)); got != one+two {
				t.Errorf("it reads as\n%s", got)
			}
			var lines []int
			for _, b := range blocks {
				lines = append(lines, b.Line)
			}
			if !slices.Equal(lines, test.lines) {
				t.Errorf("blocks begin in lines %v, want %v", lines, test.lines)
			}
		})
	}
}

func TestHeadersAreRead(t *testing.T) {
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("x"), Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES"}})
	blocks, fault := Read(text)
	if fault != "" || blocks[0].Headers["DEK-Info"] != "AES" || string(blocks[0].Bytes) != "x" {
		t.Errorf("%+v, %s", blocks, fault)
	}
}

// One damaged block refuses the whole text, and the fault says where and what to do.
func TestNothingIsPassedOver(t *testing.T) {
	body := strings.Split(two, "\n")[1]
	for _, test := range []struct{ name, text, want string }{
		{"nothing", "", "it is empty"},
		{"white space", "\n \r\n", "it is empty"},
		{"no PEM", "nothing", "it is not PEM: it has no line like -----BEGIN CERTIFICATE-----"},
		{"a damaged character", one + strings.Replace(two, body, "*"+body[1:], 1), "block 2 (CERTIFICATE, line 5) is damaged: character 1 of line 6 (U+002A) is no base64"},
		{"a comment inside", strings.Replace(one, "\n", "\n# \n", 1), "block 1 (CERTIFICATE, line 1) is damaged: character 1 of line 2 (U+0023) is no base64"},
		{"a part is missing", one + strings.Replace(two, body, body[1:], 1), "block 2 (CERTIFICATE, line 5) is damaged: its base64 is not complete"},
		{"the end is missing", one + two[:100], "block 2 (CERTIFICATE, line 5) has no line -----END CERTIFICATE-----: the rest of it is missing"},
		{"the end of the first is missing", one[:60] + "\n" + two, "block 1 (CERTIFICATE, line 1) has no line -----END CERTIFICATE----- before the next block begins in line 3"},
		{"the beginning is missing", one + two[28:], "line 5 looks like a part of a block, and stands in none: its line -----BEGIN …----- is missing"},
		{"only the end is there", one + "-----END CERTIFICATE-----\n", "a block ends in line 5 that has not begun: its line -----BEGIN CERTIFICATE----- is missing"},
		{"both are missing", one + body + "\n", "line 5 looks like a part of a block, and stands in none"},
		{"an end of another type", strings.Replace(one, "END CERTIFICATE", "END X509 CRL", 1), "block 1 (CERTIFICATE, line 1) ends in line 4 as a block of another type"},
		{"a hyphen too few before", one + two[1:], "line 5 is not quite a line that begins or ends a block: it must be like -----BEGIN CERTIFICATE-----"},
		{"a hyphen too few behind", one + strings.Replace(two, "-----\n", "----\n", 1), "line 5 is not quite a line"},
		{"a hyphen too few at the end", one + strings.Replace(two, "END CERTIFICATE-----", "END CERTIFICATE----", 1), "line 8 is not quite a line"},
		{"dashes of a word processor", one + strings.Replace(two, "-----BEGIN", "—–BEGIN", 1), "line 5 is not quite a line"},
		{"lower case", one + strings.ToLower(two), "line 5 is not quite a line"},
		{"spaces in it", one + strings.Replace(two, "-----BEGIN", "----- BEGIN", 1), "line 5 is not quite a line"},
		{"a hyphen too many", one + "-" + two, "line 5 is not quite a line"},
		{"in quotation marks", `"` + one + `"`, "something stands in line 1 before the beginning of a block: remove the quotation marks"},
		{"a quotation mark at the end", strings.TrimSpace(one) + `"`, "something stands in line 4 behind the end of a block: remove the quotation marks"},
		{"a key of YAML before it", "tls.crt: " + one, "something stands in line 1 before the beginning of a block: the block needs lines of its own"},
		{"line breaks as two characters", strings.ReplaceAll(one, "\n", `\n`), `it has the two characters \n in place of line breaks; write real line breaks`},
		{"those of Windows", strings.ReplaceAll(one, "\n", `\r\n`), `it has the two characters \n in place of line breaks`},
		{"UTF-16 of Windows", "\xff\xfe" + wide(one, binary.LittleEndian), "it is UTF-16; save it as UTF-8"},
		{"UTF-16, big end first", "\xfe\xff" + wide(one, binary.BigEndian), "it is UTF-16; save it as UTF-8"},
		{"UTF-16 without a mark", wide(one, binary.LittleEndian), "it is UTF-16; save it as UTF-8"},
		{"UTF-32", "\xff\xfe\x00\x00-\x00\x00\x00", "it is UTF-32; save it as UTF-8"},
		{"NUL", one + "\x00", fmt.Sprintf("it is no text: byte %d is NUL", len(one)+1)},
		{"base64 twice", base64.StdEncoding.EncodeToString([]byte(one)), "it is base64 of PEM: it was encoded once too often"},
		{"SOPS", "ENC[AES256_GCM,data:AAAA]", "it is encrypted by SOPS; decrypt it first"},
		{"DER", "\x30\x82\x01\x0a\x30\x82\x01\x00\xa0\x03", "it is binary (DER), not PEM; convert it: openssl x509 -inform DER"},
		{"PKCS 12", "\x30\x82\x01\x0a\x02\x01\x03\x30\x82\x01\x00", "it is PKCS #12 (.pfx, .p12), not PEM"},
		{"a type that is no name", "-----BEGIN hunter2-----\nhunter2*\n", "block 1 (…, line 1) is damaged: character 8 of line 2"},
		{"a damaged key", strings.Replace(key, "\n", "\n*", 1), "block 1 (PRIVATE KEY, line 1) is damaged: character 1 of line 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			blocks, fault := Read([]byte(test.text))
			if blocks != nil || !strings.HasPrefix(fault, test.want) {
				t.Errorf("%d blocks, fault %q, want %q", len(blocks), fault, test.want)
			}
			if strings.Contains(fault, "hunter2") {
				t.Error("it tells what the text holds")
			}
		})
	}
}

func TestIsPlain(t *testing.T) {
	for text, want := range map[string]bool{
		one + two:                          true,
		"words\n" + one + "\n" + two:       true,
		"\ufeff" + one + two:               false,
		strings.TrimSpace(one) + two:       false,
		" " + one:                          false,
		strings.ReplaceAll(one, "\n", " "): false,
		one + two[:80]:                     false,
		"":                                 false,
	} {
		if got := IsPlain([]byte(text)); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

// FuzzRead checks that Read finds the same blocks as Go's decoder finds in the
// text that Encode writes. Each armour line belongs to a block, or there is a
// fault. No fault quotes the text.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		one + two, "\ufeff" + one, strings.TrimSpace(one) + two, one + two[:100], one + two[3:], key, "# " + one,
		strings.ReplaceAll(one, "\n", "\r"), strings.ReplaceAll(one, "\n", `\n`), `"` + one + `"`, "words\n" + one, "",
		"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
	} {
		f.Add([]byte(seed))
	}
	comments := regexp.MustCompile(`(?m)^[ \t\v\f\x{feff}]*#.*$`)
	f.Fuzz(func(t *testing.T, text []byte) {
		blocks, fault := Read(text)
		if (fault == "") != (len(blocks) > 0) {
			t.Fatalf("%d blocks, and fault %q", len(blocks), fault)
		}
		if fault != "" {
			if !utf8.ValidString(fault) || len(fault) > 300 {
				t.Errorf("fault %q", fault)
			}
			for line := range bytes.Lines(text) {
				if line = bytes.TrimSpace(line); len(line) >= 40 && !bytes.Contains(line, []byte("-----")) && strings.Contains(fault, string(line)) {
					t.Errorf("fault %q tells the text", fault)
				}
			}
			return
		}
		plain := Encode(blocks)
		rest := plain
		for i, b := range blocks {
			var decoded *pem.Block
			decoded, rest = pem.Decode(rest)
			if decoded == nil || decoded.Type != b.Type || !bytes.Equal(decoded.Bytes, b.Bytes) {
				t.Fatalf("block %d is %+v, and plainly %+v", i, b, decoded)
			}
		}
		if len(rest) > 0 {
			t.Errorf("%q is left", rest)
		}
		if again, fault := Read(plain); fault != "" || !bytes.Equal(Encode(again), plain) {
			t.Errorf("what is written plainly reads otherwise: %s", fault)
		}
		seen := comments.ReplaceAll(bytes.ReplaceAll(text, []byte("\r"), []byte("\n")), nil)
		for _, word := range []string{"-----BEGIN ", "-----END "} {
			if got := bytes.Count(seen, []byte(word)); got != len(blocks) {
				t.Errorf("%d blocks, and %q stands there %d times", len(blocks), word, got)
			}
		}
	})
}
