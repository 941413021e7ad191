package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// algorithm is the name of a key's signatures in RFC 7518; empty for keys that are
// not supported.
func algorithm(key crypto.Signer) string {
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		if public.Curve == elliptic.P256() {
			return "ES256"
		}
	case *rsa.PublicKey:
		return "RS256"
	}
	return ""
}

// sign makes the body of a request by an account (RFC 8555, 6.2). A nil payload
// makes it a POST-as-GET.
//
// The library's own signing is not exported, and it has no way to say what an
// order replaces, to list orders, or to finalize without waiting.
func sign(key crypto.Signer, account, nonce, url string, payload any) ([]byte, error) {
	protected, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Account   string `json:"kid"`
		Nonce     string `json:"nonce"`
		URL       string `json:"url"`
	}{algorithm(key), account, nonce, url})
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	var text []byte
	if payload != nil {
		if text, err = json.Marshal(payload); err != nil {
			return nil, fmt.Errorf("sign request: %w", err)
		}
	}
	encode := base64.RawURLEncoding.EncodeToString
	head, body := encode(protected), encode(text)
	mark, err := signature(key, []byte(head+"."+body))
	if err != nil {
		return nil, fmt.Errorf("sign request: %w", err)
	}
	return json.Marshal(map[string]string{"protected": head, "payload": body, "signature": encode(mark)})
}

func signature(key crypto.Signer, message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	// PKCS 1 v1.5 for RSA; ECDSA's is nonce and proof in ASN.1, which JWS wants
	// as 64 bytes. Signing needs no randomness that a test could want to choose.
	raw, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || algorithm(key) != "ES256" {
		return raw, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(raw, &pair); err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	pair.R.FillBytes(out[:32])
	pair.S.FillBytes(out[32:])
	return out, nil
}
