package acme

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/fairwaynet/fairway/api/secret"
)

// Account is ours at an authority. Its key is all that it needs: everything
// else can be asked for. So the key is stored before it is used.
type Account struct {
	// Key is in PEM: ECDSA on P-256, or RSA.
	Key secret.Bytes `json:"-"`
	// Directory is that of the authority that the URLs belong to.
	Directory string `json:"directory,omitempty"`
	// URL names the account; empty until it is registered.
	URL string `json:"url,omitempty"`
	// Orders is where the authority lists the account's orders; empty where it
	// does not.
	Orders string `json:"orders,omitempty"`
}

// NewAccount is one with a fresh key, which no authority knows yet.
func NewAccount(random io.Reader) (Account, error) {
	key, err := newKey(ECDSAP256, random)
	if err != nil {
		return Account{}, fmt.Errorf("generate account key: %w", err)
	}
	return Account{Key: key}, nil
}

// Save is the account as JSON, with its key.
func (a Account) Save() (secret.Bytes, error) {
	type plain Account
	text, err := json.Marshal(struct {
		plain
		Key []byte `json:"key"`
	}{plain(a), a.Key.Reveal()})
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("write account: %w", err)
	}
	return secret.New(text), nil
}

// RestoreAccount reads what Save wrote.
func RestoreAccount(text []byte) (Account, error) {
	type plain Account
	var stored struct {
		plain
		Key []byte `json:"key"`
	}
	if err := json.Unmarshal(text, &stored); err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	a := Account(stored.plain)
	a.Key = secret.New(stored.Key)
	if _, err := a.signer(); err != nil {
		return Account{}, fmt.Errorf("read account: %w", err)
	}
	return a, nil
}

// at is the account as that directory knows it.
func (a Account) at(directory string) Account {
	if a.Directory == directory {
		return a
	}
	return Account{Key: a.Key, Directory: directory}
}

func (a Account) signer() (crypto.Signer, error) {
	key, err := parseKey(a.Key)
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	if algorithm(key) == "" {
		return nil, errors.New("account key: use ECDSA on P-256, or RSA")
	}
	return key, nil
}
