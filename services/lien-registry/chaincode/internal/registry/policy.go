package registry

// Policy says from which collateral value on, and for which classes, the consortium's members register on the ledger (the
// roll-out starts with the most valuable cars). Steps are dated and never changed. The registry doesn't refuse by it: it can't
// see what a member did not register. Reconciliation with the official registries finds that.
type Policy struct {
	EffectiveFrom string   `json:"effective_from"`
	Currency      string   `json:"currency"`
	MinimumValue  string   `json:"minimum_value"`
	LienClasses   []string `json:"lien_classes"`
	Source        string   `json:"source"`
	SetByMSPID    string   `json:"set_by_msp_id"`
	SetAt         string   `json:"set_at"`
	TxID          string   `json:"tx_id"`
}

type policyArguments struct {
	EffectiveFrom string   `json:"effective_from"`
	Currency      string   `json:"currency"`
	MinimumValue  string   `json:"minimum_value"`
	LienClasses   []string `json:"lien_classes"`
	Source        string   `json:"source"`
}

func setPolicy(c *call, asked policyArguments) (*Policy, error) {
	if err := first(checkDate("effective_from", asked.EffectiveFrom), checkText("source", asked.Source, 200), c.requireRegistrar()); err != nil {
		return nil, err
	}
	value, err := parseAmount("minimum_value", asked.MinimumValue, asked.Currency)
	if err != nil {
		return nil, err
	}
	if len(asked.LienClasses) < 1 || len(asked.LienClasses) > len(lienClasses) {
		return nil, invalid("lien_classes", "LIEN_CLASSES", "A policy names the classes it is for, each once.")
	}
	for _, class := range asked.LienClasses {
		if err := oneOf("lien_classes", class, lienClasses...); err != nil {
			return nil, err
		}
	}
	if asked.EffectiveFrom < c.today() {
		return nil, invalid("effective_from", "POLICY_RETROACTIVE", "A policy holds from today on at the earliest.")
	}
	exists, err := c.get(&Policy{}, policyKey, asked.EffectiveFrom)
	if err != nil {
		return nil, err
	}
	if exists {
		return nil, duplicate("POLICY_EXISTS", "There is a policy from this day on.")
	}
	policy := &Policy{
		EffectiveFrom: asked.EffectiveFrom, Currency: asked.Currency, MinimumValue: value, LienClasses: asked.LienClasses,
		Source: asked.Source, SetByMSPID: c.mspID, SetAt: c.at, TxID: c.txID,
	}
	c.changed(Change{Change: "policy.set", Policy: policy})
	return policy, c.put(policy, policyKey, policy.EffectiveFrom)
}

type policyDate struct {
	AsOf string `json:"as_of"`
}

func getPolicy(c *call, asked policyDate) (*Policy, error) {
	if err := checkDate("as_of", asked.AsOf); err != nil {
		return nil, err
	}
	policies, err := scan[Policy](c, policyKey)
	if err != nil {
		return nil, err
	}
	var inForce *Policy
	for at := range policies {
		if policies[at].EffectiveFrom <= asked.AsOf {
			inForce = &policies[at]
		}
	}
	if inForce == nil {
		return nil, notFound("POLICY_UNKNOWN", "No policy was in force on that day.")
	}
	return inForce, nil
}

type nothing struct{}

type policyList struct {
	Policies []Policy `json:"policies"`
}

func listPolicies(c *call, _ nothing) (*policyList, error) {
	policies, err := scan[Policy](c, policyKey)
	return &policyList{policies}, err
}
