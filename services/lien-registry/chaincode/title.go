package main

type issueTitle struct {
	HolderHash                    string `json:"holder_hash"`
	RegistrationCertificateNumber string `json:"registration_certificate_number"`
	VIN                           string `json:"vin"`
}

// IssueTitle creates the one title record of a car. Only a registrar may.
func (m *MortgageAsset) IssueTitle(c ctx, argument string) (string, error) {
	var in issueTitle
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	if err := first(
		match(vinPattern, "vin", in.VIN, "VIN_MALFORMED"),
		match(debtorHashPattern, "holder_hash", in.HolderHash, "HASH_MALFORMED"),
		match(certificatePattern, "registration_certificate_number", in.RegistrationCertificateNumber, "CERTIFICATE_NUMBER_MALFORMED"),
	); err != nil {
		return "", err
	}
	msp, err := requireRegistrar(c)
	if err != nil {
		return "", err
	}
	at, err := transactionTime(c)
	if err != nil {
		return "", err
	}
	var title Title
	if exists, err := read(c, &title, keyTitle, in.VIN); err != nil {
		return "", err
	} else if exists {
		return "", duplicate("TITLE_EXISTS", "this car has a title already")
	}
	title = Title{
		HolderHash: in.HolderHash, HolderMSPID: msp, IssuedAt: rfc3339(at), RegistrationCertificateNumber: in.RegistrationCertificateNumber,
		TxID: c.GetStub().GetTxID(), VIN: in.VIN,
	}
	if err := first(write(c, title, keyTitle, in.VIN), emit(c, Change{Change: "title.issued", Title: &title, VIN: in.VIN})); err != nil {
		return "", err
	}
	return answer(title)
}

// GetTitle returns the title of a car.
func (m *MortgageAsset) GetTitle(c ctx, argument string) (string, error) {
	var in struct {
		VIN string `json:"vin"`
	}
	if err := parse(argument, &in); err != nil {
		return "", err
	}
	if err := match(vinPattern, "vin", in.VIN, "VIN_MALFORMED"); err != nil {
		return "", err
	}
	var title Title
	exists, err := read(c, &title, keyTitle, in.VIN)
	if err != nil {
		return "", err
	}
	if !exists {
		return "", notFound("TITLE_NOT_FOUND", "this car has no title")
	}
	return answer(title)
}
