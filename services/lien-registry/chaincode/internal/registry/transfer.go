package registry

// transferTitle changes a car's holder. Liens follow the car (Civil Code 406).
func transferTitle(c *call, asked titleArguments) (*Title, error) {
	if err := first(asked.check(), c.requireRegistrar()); err != nil {
		return nil, err
	}
	title, agreed, err := c.planTransfer(asked)
	if err != nil {
		return nil, err
	}
	title.HolderMSPID, title.HolderHash = asked.HolderMSPID, asked.HolderHash
	title.RegistrationCertificateNumber = asked.RegistrationCertificateNumber
	return title, first(c.changeTitle(title, "title.transferred"), c.use(agreed))
}

// planTransfer tells whose consent a transfer needs: the two organisations that keep the title, unless it is the
// registrar's own, and every holder of a registration in force. Those apply jointly with old and new owner (Motor Vehicle
// Registration Provisions, Order 164 of the Ministry of Public Security, 26 and 27), also the registrar's own organisation
// where it is a holder: a registrar doesn't decide for the lender.
func (c *call) planTransfer(asked titleArguments) (*Title, agreement, error) {
	if err := asked.check(); err != nil {
		return nil, agreement{}, err
	}
	title, err := c.title(asked.VIN)
	if err != nil {
		return nil, agreement{}, err
	}
	if err := c.refuseSeized(asked.VIN); err != nil {
		return nil, agreement{}, err
	}
	needed := []string{}
	for _, keeper := range []string{title.HolderMSPID, asked.HolderMSPID} {
		if keeper != c.mspID {
			needed = append(needed, keeper)
		}
	}
	liens, err := scan[Lien](c, lienKey, asked.VIN)
	if err != nil {
		return nil, agreement{}, err
	}
	for _, lien := range liens {
		if lien.inForce(c.at) {
			needed = append(needed, lien.SecuredPartyMSPID)
		}
	}
	return title, agree(Proposal{
		Operation: transferOperation, VIN: asked.VIN, TitleVersion: title.Version, HolderMSPID: asked.HolderMSPID,
		HolderHash: asked.HolderHash, RegistrationCertificateNumber: asked.RegistrationCertificateNumber,
	}, needed...), nil
}

type assignArguments struct {
	RegistrationNumber string `json:"registration_number"`
	ClaimID            string `json:"claim_id"`
	AssigneeMSPID      string `json:"assignee_msp_id"`
}

// assignLien hands a lien over together with its claim, never without (Civil Code 407). The assignee consents: nobody
// becomes a secured party unasked.
func assignLien(c *call, asked assignArguments) (*Lien, error) {
	lien, err := c.ownLien(asked.RegistrationNumber)
	if err != nil {
		return nil, err
	}
	agreed, err := c.planAssignment(lien, asked)
	if err != nil {
		return nil, err
	}
	lien.ClaimID, lien.SecuredPartyMSPID = asked.ClaimID, asked.AssigneeMSPID
	return lien, first(c.changeLien(lien, "lien.assigned", "", 0), c.use(agreed))
}

func (c *call) planAssignment(lien *Lien, asked assignArguments) (agreement, error) {
	if err := first(checkDocument("claim_id", asked.ClaimID), checkMSP("assignee_msp_id", asked.AssigneeMSPID), lien.requireInForce(c.at)); err != nil {
		return agreement{}, err
	}
	if asked.AssigneeMSPID == lien.SecuredPartyMSPID {
		return agreement{}, invalid("assignee_msp_id", "ASSIGNEE_IS_HOLDER", "The assignee holds the lien already.")
	}
	if lien.ClaimID != "" && lien.ClaimID != asked.ClaimID {
		return agreement{}, precondition("CLAIM_MISMATCH", "The lien secures another claim (Civil Code 407).")
	}
	return agree(Proposal{
		Operation: assignOperation, VIN: lien.VIN, RegistrationNumber: lien.RegistrationNumber, RegistrationVersion: lien.Version,
		ClaimID: asked.ClaimID, AssigneeMSPID: asked.AssigneeMSPID,
	}, asked.AssigneeMSPID), nil
}
