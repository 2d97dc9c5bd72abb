package main

const roleAttribute = "carlien.role"

func callerMSP(c ctx) (string, error) { return c.GetClientIdentity().GetMSPID() }

func requireRegistrar(c ctx) (string, error) {
	msp, err := callerMSP(c)
	if err != nil {
		return "", err
	}
	role, _, err := c.GetClientIdentity().GetAttributeValue(roleAttribute)
	if err != nil {
		return "", err
	}
	if role != "registrar" {
		return "", denied("REGISTRAR_REQUIRED", "only an identity with attribute carlien.role=registrar may do this")
	}
	return msp, nil
}

func requireSecuredParty(c ctx, lien *Lien) error {
	msp, err := callerMSP(c)
	if err != nil {
		return err
	}
	if msp != lien.SecuredPartyMSPID {
		return denied("NOT_SECURED_PARTY", "only the secured party's organisation may change this registration")
	}
	return nil
}
