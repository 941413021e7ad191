// Package oldclient is a TLS 1.2 client that supports certificates with only one
// kind of key.
//
// It stops at the server's certificate, which TLS 1.2 sends unencrypted, because
// tests only need that. Go's own client cannot be used: it always offers both
// kinds of keys.
package oldclient

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/crypto/cryptobyte"
)

// Certificate is the server's certificate for a name and a client that supports
// only RSA keys, or else only ECDSA keys.
func Certificate(ctx context.Context, address, name string, isRSA bool) (*x509.Certificate, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // the certificate is all that counts
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	hello, err := clientHello(name, isRSA)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(hello); err != nil {
		return nil, err
	}
	return certificateFrom(conn)
}

// Numbers from RFC 5246, RFC 8422 and RFC 6066.
const (
	recordAlert, recordHandshake = 21, 22

	messageClientHello, messageCertificate = 1, 11

	extensionServerName, extensionGroups, extensionSignatures = 0, 10, 13

	version12 = 0x0303
	groupP256 = 23
)

func clientHello(name string, isRSA bool) ([]byte, error) {
	suite, signature := uint16(0xc02b), uint16(0x0403) // ECDHE-ECDSA-AES128-GCM-SHA256, ecdsa_secp256r1_sha256
	if isRSA {
		suite, signature = 0xc02f, 0x0401 // ECDHE-RSA-AES128-GCM-SHA256, rsa_pkcs1_sha256
	}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return nil, err
	}
	type builder = *cryptobyte.Builder
	extension := func(b builder, number uint16, body func(builder)) {
		b.AddUint16(number)
		b.AddUint16LengthPrefixed(func(b builder) { b.AddUint16LengthPrefixed(body) })
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(recordHandshake)
	b.AddUint16(0x0301)
	b.AddUint16LengthPrefixed(func(b builder) {
		b.AddUint8(messageClientHello)
		b.AddUint24LengthPrefixed(func(b builder) {
			b.AddUint16(version12)
			b.AddBytes(random)
			b.AddUint8(0) // no session
			b.AddUint16LengthPrefixed(func(b builder) { b.AddUint16(suite) })
			b.AddUint8LengthPrefixed(func(b builder) { b.AddUint8(0) }) // no compression
			b.AddUint16LengthPrefixed(func(b builder) {
				extension(b, extensionServerName, func(b builder) {
					b.AddUint8(0) // type host_name
					b.AddUint16LengthPrefixed(func(b builder) { b.AddBytes([]byte(name)) })
				})
				extension(b, extensionGroups, func(b builder) { b.AddUint16(groupP256) })
				extension(b, extensionSignatures, func(b builder) { b.AddUint16(signature) })
			})
		})
	})
	return b.Bytes()
}

// certificateFrom reads the server's messages up to its certificate.
func certificateFrom(conn io.Reader) (*x509.Certificate, error) {
	var messages []byte
	for {
		header := make([]byte, 5)
		if _, err := io.ReadFull(conn, header); err != nil {
			return nil, err
		}
		body := make([]byte, binary.BigEndian.Uint16(header[3:]))
		if _, err := io.ReadFull(conn, body); err != nil {
			return nil, err
		}
		switch header[0] {
		case recordAlert:
			return nil, fmt.Errorf("alert %d", body)
		case recordHandshake:
			messages = append(messages, body...)
		default:
			return nil, fmt.Errorf("record of type %d", header[0])
		}
		if found, err := firstCertificate(messages); found != nil || err != nil {
			return found, err
		}
	}
}

// firstCertificate is nil while messages are incomplete.
func firstCertificate(messages []byte) (*x509.Certificate, error) {
	for text := cryptobyte.String(messages); ; {
		var kind uint8
		var body, list, der cryptobyte.String
		if !text.ReadUint8(&kind) || !text.ReadUint24LengthPrefixed(&body) {
			return nil, nil
		}
		if kind != messageCertificate {
			continue
		}
		if !body.ReadUint24LengthPrefixed(&list) || !list.ReadUint24LengthPrefixed(&der) {
			return nil, errors.New("a certificate message that holds none")
		}
		return x509.ParseCertificate(der)
	}
}
