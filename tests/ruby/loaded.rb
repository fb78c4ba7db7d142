class Geladen
  tief(1)
end
