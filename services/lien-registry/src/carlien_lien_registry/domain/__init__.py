"""What a lien registry is about: registrations, titles, serial numbers, certificates. No transport, no store."""
