package registry

func getLien(c *call, asked numberArguments) (*Lien, error) {
	return c.lien("registration_number", asked.RegistrationNumber)
}

// LienEntry is one step of a registration's life.
type LienEntry struct {
	Change    string `json:"change"`
	Lien      Lien   `json:"lien"`
	TxID      string `json:"tx_id"`
	ChangedAt string `json:"changed_at"`
}

type lienHistory struct {
	Entries []LienEntry `json:"entries"`
}

func getLienHistory(c *call, asked numberArguments) (*lienHistory, error) {
	lien, err := c.lien("registration_number", asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	versions, err := history[Lien](c, lienKey, lien.VIN, lien.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	answer := &lienHistory{Entries: []LienEntry{}}
	for _, past := range versions {
		answer.Entries = append(answer.Entries, LienEntry{past.record.Change, past.record, past.txID, past.at})
	}
	return answer, nil
}

type lienList struct {
	Liens    []Lien `json:"liens"`
	Bookmark string `json:"bookmark"`
}

type vinPage struct {
	VIN string `json:"vin"`
	Page
}

func listLiensByVin(c *call, asked vinPage) (*lienList, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	liens, next, err := page[Lien](c, asked.Page, lienKey, asked.VIN)
	return &lienList{liens, next}, err
}

func listLiens(c *call, asked Page) (*lienList, error) {
	liens, next, err := page[Lien](c, asked, lienKey)
	return &lienList{liens, next}, err
}

type debtorPage struct {
	DebtorHash string `json:"debtor_hash"`
	Page
}

// listLiensByDebtor leaves out registrations that have another debtor, or another key's hash, by now.
func listLiensByDebtor(c *call, asked debtorPage) (*lienList, error) {
	if err := checkKeyedHash("debtor_hash", asked.DebtorHash); err != nil {
		return nil, err
	}
	entries, next, err := page[debtorEntry](c, asked.Page, debtorKey, asked.DebtorHash)
	if err != nil {
		return nil, err
	}
	answer := &lienList{Liens: []Lien{}, Bookmark: next}
	for _, entry := range entries {
		lien := Lien{}
		if _, err := c.get(&lien, lienKey, entry.VIN, entry.RegistrationNumber); err != nil {
			return nil, err
		}
		if lien.DebtorHash == asked.DebtorHash {
			answer.Liens = append(answer.Liens, lien)
		}
	}
	return answer, nil
}

type consentList struct {
	Consents []Consent `json:"consents"`
	Bookmark string    `json:"bookmark"`
}

func listConsents(c *call, asked vinPage) (*consentList, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	consents, next, err := page[Consent](c, asked.Page, consentKey, asked.VIN)
	return &consentList{consents, next}, err
}

type disputeList struct {
	Disputes []Dispute `json:"disputes"`
	Bookmark string    `json:"bookmark"`
}

func listDisputes(c *call, asked vinPage) (*disputeList, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	disputes, next, err := page[Dispute](c, asked.Page, disputeKey, asked.VIN)
	return &disputeList{disputes, next}, err
}

type courtOrderList struct {
	CourtOrders []CourtOrder `json:"court_orders"`
	Bookmark    string       `json:"bookmark"`
}

func listCourtOrders(c *call, asked vinPage) (*courtOrderList, error) {
	if err := checkVIN(asked.VIN); err != nil {
		return nil, err
	}
	orders, next, err := page[CourtOrder](c, asked.Page, courtOrderKey, asked.VIN)
	return &courtOrderList{orders, next}, err
}
