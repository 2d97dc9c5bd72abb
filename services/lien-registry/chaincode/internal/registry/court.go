package registry

// Effects of a court order on the registry.
const (
	effectDischarge      = "DISCHARGE"
	effectSeizure        = "SEIZURE"
	effectReleaseSeizure = "RELEASE_SEIZURE"
	effectOther          = "OTHER"
)

// CourtOrder is an order as the registrar recorded it (notice to assist in execution).
type CourtOrder struct {
	CourtOrderID       string `json:"court_order_id"`
	VIN                string `json:"vin"`
	RegistrationNumber string `json:"registration_number"`
	Effect             string `json:"effect"`
	Releases           string `json:"releases"`
	CourtName          string `json:"court_name"`
	CourtRegistry      string `json:"court_registry"`
	FileNumber         string `json:"file_number"`
	OrderDate          string `json:"order_date"`
	OrderHash          string `json:"order_hash"`
	RegistrarMSPID     string `json:"registrar_msp_id"`
	RegisteredAt       string `json:"registered_at"`
	TxID               string `json:"tx_id"`
}

type courtOrderArguments struct {
	VIN                string `json:"vin"`
	RegistrationNumber string `json:"registration_number"`
	Effect             string `json:"effect"`
	Releases           string `json:"releases"`
	CourtName          string `json:"court_name"`
	CourtRegistry      string `json:"court_registry"`
	FileNumber         string `json:"file_number"`
	OrderDate          string `json:"order_date"`
	OrderHash          string `json:"order_hash"`
}

func (a courtOrderArguments) check(today string) error {
	err := first(
		checkVIN(a.VIN),
		oneOf("effect", a.Effect, effectDischarge, effectSeizure, effectReleaseSeizure, effectOther),
		checkText("court_name", a.CourtName, 100),
		optional(a.CourtRegistry, checkText("court_registry", a.CourtRegistry, 100)),
		checkText("file_number", a.FileNumber, 64),
		checkDate("order_date", a.OrderDate),
		checkHash("order_hash", a.OrderHash),
	)
	switch {
	case err != nil:
		return err
	case a.OrderDate > today:
		return invalid("order_date", "DATE_AHEAD", "The day lies ahead.")
	case a.Effect == effectDischarge && a.RegistrationNumber == "":
		return invalid("registration_number", "REGISTRATION_REQUIRED", "A discharge names the registration.")
	case (a.Effect == effectReleaseSeizure) != (a.Releases != ""):
		return invalid("releases", "SEIZURE_REQUIRED", "The release of a seizure, and nothing else, names the order it releases.")
	}
	return optional(a.Releases, checkNumber("releases", courtOrderNumber, a.Releases))
}

func registerCourtOrder(c *call, asked courtOrderArguments) (*CourtOrder, error) {
	if err := first(asked.check(c.today()), c.requireRegistrar()); err != nil {
		return nil, err
	}
	var lien *Lien
	if asked.RegistrationNumber != "" {
		var err error
		if lien, err = c.lienOn(asked.VIN, asked.RegistrationNumber); err != nil {
			return nil, err
		}
	}
	if asked.Effect == effectReleaseSeizure {
		if err := c.requireSeizure(asked.VIN, asked.Releases); err != nil {
			return nil, err
		}
	}
	order := &CourtOrder{
		CourtOrderID: newNumber(courtOrderNumber, c.txID, 0), VIN: asked.VIN, RegistrationNumber: asked.RegistrationNumber,
		Effect: asked.Effect, Releases: asked.Releases, CourtName: asked.CourtName, CourtRegistry: asked.CourtRegistry,
		FileNumber: asked.FileNumber, OrderDate: asked.OrderDate, OrderHash: asked.OrderHash,
		RegistrarMSPID: c.mspID, RegisteredAt: c.at, TxID: c.txID,
	}
	c.changed(Change{Change: "court_order.registered", VIN: order.VIN, RegistrationNumber: order.RegistrationNumber, CourtOrder: order})
	if err := c.put(order, courtOrderKey, order.VIN, order.CourtOrderID); err != nil {
		return nil, err
	}
	if asked.Effect == effectDischarge {
		return order, c.discharge(lien, "COURT_ORDER")
	}
	return order, nil
}

// lienOn finds a registration and checks that it stands on the car.
func (c *call) lienOn(vin, number string) (*Lien, error) {
	lien, err := c.lien("registration_number", number)
	if err != nil {
		return nil, err
	}
	if lien.VIN != vin {
		return nil, invalid("registration_number", "OTHER_VEHICLE", "The registration stands on another car.")
	}
	return lien, nil
}

func (c *call) requireSeizure(vin, order string) error {
	seizure := &CourtOrder{}
	exists, err := c.get(seizure, courtOrderKey, vin, order)
	if err != nil {
		return err
	}
	if !exists || seizure.Effect != effectSeizure {
		return notFound("SEIZURE_UNKNOWN", "There is no such seizure of this car.")
	}
	return nil
}

// refuseSeized refuses what a seizure forbids (Motor Vehicle Registration Provisions 36). Courts may seize in turn, so every
// seizure needs its own release.
func (c *call) refuseSeized(vin string) error {
	orders, err := scan[CourtOrder](c, courtOrderKey, vin)
	if err != nil {
		return err
	}
	releases := map[string]bool{}
	for _, order := range orders {
		if order.Effect == effectReleaseSeizure {
			releases[order.Releases] = true
		}
	}
	for _, order := range orders {
		if order.Effect == effectSeizure && !releases[order.CourtOrderID] {
			return precondition("VEHICLE_SEIZED", "A court has seized the car.", "court_order_id", order.CourtOrderID)
		}
	}
	return nil
}
