package registry

const (
	roleAttribute = "carlien.role"
	registrarRole = "registrar"
)

// requireRegistrar asks for the certificate attribute that an organisation's CA gives its registrars.
func (c *call) requireRegistrar() error {
	if err := c.identity.AssertAttributeValue(roleAttribute, registrarRole); err != nil {
		return denied("REGISTRAR_ONLY", "Only a registrar may do this.")
	}
	return nil
}

// requireSecuredParty lets only the organisation that holds a lien change it.
func (c *call) requireSecuredParty(lien *Lien) error {
	if lien.SecuredPartyMSPID != c.mspID {
		return denied("NOT_SECURED_PARTY", "Only the secured party's organisation may do this.")
	}
	return nil
}
