package issuer

import (
	"sync"

	"github.com/fairwaynet/fairway/controllers/certificates/order"
)

// Accounts are our accounts with the Issuers, as far as this term knows them. The
// zero value is empty.
type Accounts struct {
	// Changed is called with the Issuer whose account has changed; it must not
	// block.
	Changed func(issuer string)

	mu       sync.Mutex
	accounts map[string]entry
}

type entry struct {
	account *order.Account
	why     string // there is none
}

var _ order.Accounts = (*Accounts)(nil)

// Account implements order.Accounts.
func (a *Accounts) Account(issuer string) (account *order.Account, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.accounts[issuer]
	return found.account, found.why
}

// set says how certificates of an Issuer are ordered. With neither account nor
// why, that is not known.
func (a *Accounts) set(issuer string, account *order.Account, why string) {
	a.mu.Lock()
	before := a.accounts[issuer]
	if account == nil && why == "" {
		delete(a.accounts, issuer)
	} else {
		if a.accounts == nil {
			a.accounts = map[string]entry{}
		}
		a.accounts[issuer] = entry{account, why}
	}
	a.mu.Unlock()
	if !before.equal(entry{account, why}) {
		a.Changed(issuer)
	}
}

func (e entry) equal(other entry) bool {
	if e.account == nil || other.account == nil {
		return e.account == other.account && e.why == other.why
	}
	return e.account.Client == other.account.Client
}
