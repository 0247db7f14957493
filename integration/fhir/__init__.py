"""FHIR R4: reports and their delivery."""
