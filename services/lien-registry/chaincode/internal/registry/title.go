package registry

// Title is the one record of a car's title. It can't be traded: only a registrar changes it.
type Title struct {
	VIN                           string `json:"vin"`
	HolderMSPID                   string `json:"holder_msp_id"`
	HolderHash                    string `json:"holder_hash"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
	IssuerMSPID                   string `json:"issuer_msp_id"`
	Version                       int    `json:"version"`
	IssuedAt                      string `json:"issued_at"`
	TxID                          string `json:"tx_id"`
	Change                        string `json:"change"`
	ChangedAt                     string `json:"changed_at"`
	ChangedTxID                   string `json:"changed_tx_id"`
}

// TitleEntry is one step of a title's life.
type TitleEntry struct {
	Change    string `json:"change"`
	Title     Title  `json:"title"`
	TxID      string `json:"tx_id"`
	ChangedAt string `json:"changed_at"`
}

type titleArguments struct {
	VIN                           string `json:"vin"`
	HolderHash                    string `json:"holder_hash"`
	HolderMSPID                   string `json:"holder_msp_id"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
}

func (a *titleArguments) check() error {
	return first(
		checkVIN(a.VIN),
		checkKeyedHash("holder_hash", a.HolderHash),
		checkMSP("holder_msp_id", a.HolderMSPID),
		checkDocument("registration_certificate_number", a.RegistrationCertificateNumber),
	)
}

func issueTitle(c *call, asked titleArguments) (*Title, error) {
	if asked.HolderMSPID == "" {
		asked.HolderMSPID = c.mspID
	}
	if err := first(asked.check(), c.requireRegistrar()); err != nil {
		return nil, err
	}
	exists, err := c.get(&Title{}, titleKey, asked.VIN)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, duplicate("TITLE_EXISTS", "The car has a title already.")
	}
	title := &Title{
		VIN:                           asked.VIN,
		HolderMSPID:                   asked.HolderMSPID,
		HolderHash:                    asked.HolderHash,
		RegistrationCertificateNumber: asked.RegistrationCertificateNumber,
		IssuerMSPID:                   c.mspID,
		IssuedAt:                      c.at,
		TxID:                          c.txID,
	}
	return title, c.changeTitle(title, "title.issued")
}

func (c *call) changeTitle(title *Title, change string) error {
	title.Version++
	title.Change, title.ChangedAt, title.ChangedTxID = change, c.at, c.txID
	c.changed(Change{Change: change, VIN: title.VIN, Title: title})
	return c.put(title, titleKey, title.VIN)
}

func (c *call) title(vin string) (*Title, error) {
	title := &Title{}
	if err := checkVIN(vin); err != nil {
		return nil, err
	}
	exists, err := c.get(title, titleKey, vin)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, notFound("TITLE_UNKNOWN", "There is no title for this VIN.")
	}
	return title, nil
}

type vinArguments struct {
	VIN string `json:"vin"`
}

func getTitle(c *call, asked vinArguments) (*Title, error) { return c.title(asked.VIN) }

type titleHistory struct {
	Entries []TitleEntry `json:"entries"`
}

func getTitleHistory(c *call, asked vinArguments) (*titleHistory, error) {
	if _, err := c.title(asked.VIN); err != nil {
		return nil, err
	}
	versions, err := history[Title](c, titleKey, asked.VIN)
	if err != nil {
		return nil, err
	}
	answer := &titleHistory{Entries: []TitleEntry{}}
	for _, past := range versions {
		answer.Entries = append(answer.Entries, TitleEntry{past.record.Change, past.record, past.txID, past.at})
	}
	return answer, nil
}
